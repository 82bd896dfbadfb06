// Fetches what the page draws with, and never a wrong file: an error says what came in its place.

const SILENCE = 30_000;  // ms without a byte, after which nobody waits any longer

/** The bytes of a file: from an earlier visit if its content cannot have changed (`isLasting`), else from the host. */
export async function get(url, {bytes, sha256, isLasting, progress} = {}) {
  const name = new URL(url, location).pathname.split('/').pop(), kept = isLasting && await (await storage())?.match(url);
  // Over plain http no digest can be asked of a browser, but it compares one, though without a word.
  const integrity = sha256 && !crypto.subtle ? `sha256-${btoa(sha256.replace(/../g, (byte) => String.fromCharCode(parseInt(byte, 16))))}` : '';
  const control = new AbortController(), chunks = [];
  let read = 0, silence;
  const wait = () => {
    clearTimeout(silence);
    if (!integrity) silence = setTimeout(() => control.abort(), SILENCE);
  };
  try {
    wait();
    // no-cache: whoever has a copy on the way asks the host first, for another run's file may have come to the same address.
    const response = kept || await fetch(url, {cache: 'no-cache', integrity, signal: control.signal});
    if (!response.ok) throw new Error(`${name} is not on this host (${response.status}). The whole export folder belongs there.`);
    if (response.headers.get('Content-Type')?.startsWith('text/html')) throw new Error(`${name} is not on this host, which answers with a web page in its place.`);
    for (const reader = response.body.getReader();;) {
      const {done, value} = await reader.read();
      if (done) break;
      wait();
      chunks.push(value);
      progress?.(read += value.length);
    }
  } catch (error) {
    if (error.constructor === Error) throw error;  // ours
    throw new Error(control.signal.aborted ? `The host stopped answering while ${name} was fetched.`
      : !navigator.onLine ? `There is no network, and ${name} has not been fetched before.`
      : read ? `${name} was cut off after ${read} bytes.`
      : `${name} could not be fetched: the host does not answer${integrity && ', or has not the file that model.json describes'}.`);
  } finally {
    clearTimeout(silence);
  }
  const data = new Uint8Array(await new Blob(chunks).arrayBuffer());
  if (data.length < bytes) throw new Error(`${name} is cut off: ${data.length} bytes of ${bytes}.`);
  if (sha256 && crypto.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', data));
    if (sha256 !== Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')) throw new Error(`${name} is not the file that model.json describes (its SHA-256 differs). Is it of another export?`);
  }
  return data;
}

let text;

/** What model.json tells. */
export async function describe() {
  text = new TextDecoder().decode(await get('../model.json'));
  let about;
  try {
    about = JSON.parse(text);
  } catch {
    throw new Error(`model.json is ${text.trim().startsWith('<') ? 'a web page on this host' : 'cut off or damaged'}.`);
  }
  if (about.format_version > 1) throw new Error('model.json is of a later format: this page is too old for it.');
  return about;
}

/** Keeps a file for later visits, then model.json, and drops what an earlier export or runtime left beside those `needed`. */
export async function keep(url, data, needed) {
  const cache = await storage(), whole = needed.map((url) => new URL(url, location).href), folder = (url) => new URL('.', url).href;
  await cache?.put(url, new Response(data));
  await cache?.put('../model.json', new Response(text));
  for (const {url: old} of await cache?.keys() ?? []) {
    if (/\.(tflite|wasm)\b/.test(old) && whole.map(folder).includes(folder(old)) && !whole.includes(old)) await cache.delete(old);
  }
}

/** Keeps the page, and all else that it has fetched. */
export async function keepPage() {
  const cache = await storage(), fetched = performance.getEntriesByType('resource').map(({name}) => name);
  const ours = fetched.filter((name) => name.startsWith('http') && !/\.(tflite|wasm|json)\b/.test(name));
  await Promise.allSettled([...new Set(['.', location.pathname, ...ours])].map((name) => cache?.add(name)));  // an extension's may fail
}

/** sw.js puts the page itself there. None over plain http, nor where a browser forbids it. */
async function storage() {
  return self.caches?.open('keras-dcgan').catch(() => {});
}
