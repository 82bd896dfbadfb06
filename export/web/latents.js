// Which z a seed stands for: Threefry-2x32-20 and Box-Muller, the same numbers as pictures/latents.py.

const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]];

export function threefry(k0, k1, x0, x1) {
  const keys = [k0, k1, (k0 ^ k1 ^ 0x1bd11bda) >>> 0];
  x0 = (x0 + keys[0]) >>> 0;
  x1 = (x1 + keys[1]) >>> 0;
  for (let group = 0; group < 5; group++) {
    for (const rotation of ROTATIONS[group % 2]) {
      x0 = (x0 + x1) >>> 0;
      x1 = (((x1 << rotation) | (x1 >>> (32 - rotation))) ^ x0) >>> 0;
    }
    x0 = (x0 + keys[(group + 1) % 3]) >>> 0;
    x1 = (x1 + keys[(group + 2) % 3] + group + 1) >>> 0;
  }
  return [x0, x1];
}

/** A seed from 0 to 2**32 - 1 -> Float32Array(length), N(0, 1). */
export function latent(seed, length) {
  const z = new Float32Array(length);
  for (let i = 0; 2 * i < length; i++) {
    const [first, second] = threefry(seed >>> 0, 0, i, 0);
    const radius = Math.sqrt(-2 * Math.log((first + 0.5) / 2 ** 32));
    const angle = 2 * Math.PI * ((second + 0.5) / 2 ** 32);
    z[2 * i] = radius * Math.cos(angle);
    if (2 * i + 1 < length) z[2 * i + 1] = radius * Math.sin(angle);
  }
  return z;
}

/** The arc from one latent to another, t from 0 to 1, as slerp in latents.py. */
export function slerp(a, b, t) {
  let dot = 0, aa = 0, bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  const omega = Math.acos(Math.min(1, Math.max(-1, dot / Math.max(Math.sqrt(aa * bb), 1e-12))));
  const sine = Math.sin(omega);
  const [p, q] = sine < 1e-6 ? [1 - t, t] : [Math.sin((1 - t) * omega) / sine, Math.sin(t * omega) / sine];
  return a.map((value, i) => p * value + q * b[i]);
}
