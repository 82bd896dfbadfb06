// Keeps the page for visits without a network, and renews it whenever there is one. Models and WebAssembly are left to files.js.

const SILENCE = 10_000;  // ms, after which what is kept goes before a network that does not answer

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
self.addEventListener('fetch', (event) => {
  const {request} = event, url = new URL(request.url), isPage = request.mode === 'navigate';
  if (/\.(tflite|wasm)$/.test(url.pathname)) return;
  event.respondWith((async () => {
    const key = isPage ? url.origin + url.pathname : request.url;  // ?file=… is the same page; another file?… is another file
    const cache = await caches.open('keras-dcgan'), kept = await cache.match(key);
    const control = new AbortController(), silence = kept && setTimeout(() => control.abort(), SILENCE);
    try {
      const answer = await fetch(request, {cache: 'no-cache', signal: control.signal});
      const isHtml = answer.headers.get('Content-Type')?.startsWith('text/html') ?? false;  // a hotel's log-in is no script
      if (!answer.ok || isPage !== isHtml) return answer.status && kept || answer;  // a page that has moved has none
      // model.json is left to files.js too: it goes with the model that it names
      if (!key.endsWith('/model.json')) event.waitUntil(cache.put(key, answer.clone()).catch(() => {}));
      return answer;
    } catch {
      return kept ?? Response.error();
    } finally {
      clearTimeout(silence);
    }
  })());
});
