// Draws with a generator's .tflite file, in LiteRT.js. Nothing is sent anywhere.

import {get} from './files.js';

let runtime, model, cores;

/** Starts LiteRT.js -> its WebAssembly, to be kept, and whether it has found a GPU: WebGPU may have no adapter. */
export async function startRuntime(progress) {
  const unfetched = () => { throw new Error('LiteRT.js, which draws here, could not be fetched.'); };
  runtime = await import('./runtime.js').catch(unfetched);
  const {PLACE, VERSION, loadLiteRt, supportsFeature} = runtime;
  await WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));  // LiteRT.js takes a refusal for an old browser
  const [hasThreads, hasSimd] = await Promise.all(['threads', 'relaxedSimd'].map(supportsFeature));
  // Browsers share memory between threads only where the host sends two headers, as export.web does, and start none of a CDN's.
  const threads = hasThreads && hasSimd && self.crossOriginIsolated && PLACE.startsWith('.');
  cores = threads ? 'all cores' : 'one core';
  const url = `${PLACE}litert_wasm_${threads ? 'threaded_' : hasSimd ? '' : 'compat_'}internal.wasm?${VERSION}`;
  const wasmBinary = await get(url, {isLasting: true, progress});
  self.Module = {wasmBinary};  // where Emscripten looks; it would fetch the file itself, and tell of no progress
  await loadLiteRt(PLACE, {threads}).catch((error) => { if (error instanceof Error) throw error; unfetched(); });
  return {url, wasmBinary, hasGpu: runtime.getWebGpuDevice()};
}

/** -> what draws from now on: LiteRT.js may take another processor than was asked for. Where it fails the old model goes on. */
export async function load(data, wanted) {
  const loaded = await runtime.loadAndCompile(data, {accelerator: wanted}), {accelerator} = loaded.options;
  model?.delete();
  model = loaded;
  const processor = accelerator === 'wasm' ? `the CPU, ${cores}` : loaded.isFullyAccelerated ? 'the GPU' : 'the GPU and the CPU';
  return {accelerator, processor};
}

/** z: Float32Array; label: a class's number, or null -> uint8 RGBA. LiteRT's model is not to be entered twice. */
export async function draw(z, label) {
  const inputs = {z: new runtime.Tensor(z, [1, z.length])};
  if (label !== null) inputs.label = new runtime.Tensor(Int32Array.of(label), [1]);
  try {
    const {pixels} = await model.run('sample_rgba', inputs);
    const host = await pixels.moveTo('wasm');
    const rgba = new Uint8ClampedArray(host.toTypedArray());
    host.delete();
    return rgba;
  } finally {
    for (const tensor of Object.values(inputs)) tensor.delete();
  }
}
