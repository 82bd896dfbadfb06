// After the first visit the page works offline: every file that it has fetched is kept, and renewed when there is a network.

const CACHE = 'keras-dcgan';

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
self.addEventListener('fetch', (event) => {
  if (event.request.method !== 'GET') return;
  event.respondWith((async () => {
    const cache = await caches.open(CACHE);
    try {
      const answer = await fetch(event.request);
      if (answer.ok) await cache.put(event.request, answer.clone()).catch(() => {});  // a full store keeps nobody from drawing
      return answer;
    } catch (error) {
      return (await cache.match(event.request, {ignoreSearch: true})) ?? Response.error();
    }
  })());
});
