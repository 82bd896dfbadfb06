// Draws the image of a seed on iOS, with `pod 'TensorFlowLiteSwift'` and generator_int8.tflite in the app's bundle.
// Untested.

import CoreGraphics
import Foundation
import TensorFlowLite

let path = Bundle.main.path(forResource: "generator_int8", ofType: "tflite")!
let runner = try Interpreter(modelPath: path).signatureRunner(with: "sample_rgba")
try runner.invoke(with: ["z": latent(seed: 7, length: 100).withUnsafeBufferPointer { Data(buffer: $0) }])
let pixels = try runner.output(named: "pixels").data  // 64 x 64 x R, G, B, A; of a generator with alpha take .last below
let image = CGImage(
    width: 64, height: 64, bitsPerComponent: 8, bitsPerPixel: 32, bytesPerRow: 4 * 64, space: CGColorSpaceCreateDeviceRGB(),
    bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.noneSkipLast.rawValue), provider: CGDataProvider(data: pixels as CFData)!,
    decode: nil, shouldInterpolate: false, intent: .defaultIntent)

/// Threefry-2x32-20 and Box-Muller, as keras_dcgan/pictures/latents.py; check it by the golden values in model.json.
func latent(seed: UInt32, length: Int) -> [Float] {
    let keys = [seed, 0, seed ^ 0x1BD1_1BDA], rotations: [[UInt32]] = [[13, 15, 26, 6], [17, 29, 16, 24]]
    let pairs = (0..<(length + 1) / 2).flatMap { pair -> [Float] in
        var x0 = UInt32(pair) &+ keys[0], x1 = keys[1]
        for group in 0..<5 {
            for rotation in rotations[group % 2] {
                x0 = x0 &+ x1
                x1 = ((x1 << rotation) | (x1 >> (32 - rotation))) ^ x0
            }
            x0 = x0 &+ keys[(group + 1) % 3]
            x1 = x1 &+ keys[(group + 2) % 3] &+ UInt32(group + 1)
        }
        let radius = (-2 * log((Double(x0) + 0.5) / 4294967296)).squareRoot()
        let angle = 2 * Double.pi * ((Double(x1) + 0.5) / 4294967296)
        return [Float(radius * cos(angle)), Float(radius * sin(angle))]
    }
    return Array(pairs.prefix(length))
}
