// Draws with the .tflite files that lie one folder up. Nothing is sent anywhere.

import {loadAndCompile, loadLiteRt, supportsFeature, Tensor} from '@litertjs/core';
import {latent, slerp} from './latents.js';

const $ = (id) => document.getElementById(id);
const GRID = 8;
const RUNTIME = window.LITERT_WASM ?? './litert/';  // index.html may point elsewhere

let about, model, drawnBy, seed, z, shown, walking = 0, queue = Promise.resolve();

function problem(text) {
  $('problem').textContent = text;
}

/** One picture at a time: LiteRT's model is not to be entered twice. */
function inTurn(work) {
  queue = queue.then(work).catch((error) => {
    stop();
    problem(error.message ?? error);
  });
  return queue;
}

/** The class asked for, or else the seed's, as everywhere: the classes in turn. */
function label(seed) {
  return $('class').selectedIndex ? $('class').selectedIndex - 1 : seed % about.classes.length;
}

async function draw(canvas, latents, seed) {
  const inputs = {z: new Tensor(Float32Array.from(latents), [1, about.latent_dim])};
  if (about.classes.length) inputs.label = new Tensor(Int32Array.of(label(seed)), [1]);
  try {
    const start = performance.now();
    const {pixels} = await model.run('sample_rgba', inputs);
    const host = await pixels.moveTo('wasm');
    const rgba = new Uint8ClampedArray(host.toTypedArray());
    const milliseconds = performance.now() - start;
    host.delete();
    canvas.width = about.width;
    canvas.height = about.height;
    canvas.getContext('2d').putImageData(new ImageData(rgba, about.width, about.height), 0, 0);
    return milliseconds;
  } finally {
    for (const tensor of Object.values(inputs)) tensor.delete();
  }
}

function edited(start) {
  const result = Float32Array.from(start, (value) => value * $('truncation').value);
  about.directions.forEach((direction, number) => {
    const amount = $('sliders').children[number].querySelector('input').value;
    direction.forEach((value, i) => (result[i] += amount * value));
  });
  return result;
}

/** Draws what the controls say; asked for several times while it waits its turn, it draws once. */
function show() {
  return (shown ??= inTurn(async () => {
    shown = null;
    const drawn = seed;  // by the time it is, another may have been chosen
    const milliseconds = await draw($('picture'), edited(z), drawn);
    $('status').textContent = `${milliseconds.toFixed(1)} ms a picture, ${drawnBy}`;
    document.body.dataset.ready = drawn;  // what is on the screen, for who looks from outside
  }));
}

function stop() {
  walking = 0;
  $('walk').setAttribute('aria-pressed', false);
}

function mark() {
  for (const button of $('grid').children) button.setAttribute('aria-pressed', button.dataset.seed === $('seed').value);
}

function choose(number) {
  stop();
  $('seed').value = seed = number;
  z = latent(seed, about.latent_dim);
  mark();
  return show();
}

function fill(first) {
  $('grid').replaceChildren(...Array.from({length: GRID}, (_, i) => {
    const button = document.createElement('button');
    const canvas = document.createElement('canvas');
    button.dataset.seed = (first + i) % 2 ** 32;
    button.setAttribute('aria-label', `seed ${button.dataset.seed}`);
    button.append(canvas);
    button.onclick = () => choose(number);
    const number = Number(button.dataset.seed);
    inTurn(() => canvas.isConnected && draw(canvas, latent(number, about.latent_dim), number));
    return button;
  }));
  mark();
}

function redraw() {
  fill(Number($('grid').firstChild.dataset.seed));
  return show();
}

async function walk() {
  if (walking) return stop();
  $('walk').setAttribute('aria-pressed', true);
  const mine = (walking = Date.now());
  while (walking === mine) {
    const next = (seed + (about.classes.length || 1)) % 2 ** 32;  // of the same class
    const [from, to] = [latent(seed, about.latent_dim), latent(next, about.latent_dim)];
    for (let frame = 0; frame < 50 && walking === mine; frame++) {
      z = slerp(from, to, frame / 50);
      await show();
      await new Promise(requestAnimationFrame);
    }
    if (walking === mine) $('seed').value = seed = next;
  }
}

async function loadModel() {
  $('status').textContent = 'Loading…';
  problem('');
  const [file, accelerator] = [$('file').value, $('accelerator')];
  const loaded = await loadAndCompile(`../${file}`, {accelerator: accelerator.value});
  model?.delete();  // only now: where that failed, the old one goes on
  model = loaded;
  const wholly = {wasm: 'CPU', webgpu: 'GPU'}[loaded.options.accelerator];  // LiteRT.js may have taken another than was asked for
  drawnBy = `${file} on the ${wholly === 'GPU' && !loaded.isFullyAccelerated ? 'GPU and the CPU' : wholly}`;
}

/** Where it failed, another file or device can be chosen. */
function load() {
  return inTurn(loadModel).then(() => model && (z ? redraw() : begin()));
}

// Browsers share memory between threads only where the host sends two headers, as `python -m export.web` does, and start none
// of another site's, as a CDN is.
async function hasThreads() {
  if (!self.crossOriginIsolated || window.LITERT_WASM) return false;
  return (await Promise.all(['threads', 'relaxedSimd'].map(supportsFeature))).every(Boolean);
}

async function start() {
  if (typeof WebAssembly !== 'object') throw new Error('This browser has no WebAssembly, which draws the pictures here.');
  about = await (await fetch('../model.json')).json();
  const files = Object.keys(about.files).filter((name) => name.endsWith('.tflite'));
  $('file').append(...files.sort((a, b) => about.files[a].bytes - about.files[b].bytes).map((name) => new Option(name)));
  const wanted = new URLSearchParams(location.search).get('file');
  if (files.includes(wanted)) $('file').value = wanted;
  $('title').textContent = document.title = about.name;
  about.directions.forEach((_, number) => {
    const label = document.createElement('label');
    label.append(`direction ${number + 1}`, Object.assign(document.createElement('input'), {type: 'range', min: -4, max: 4, step: 0.1, value: 0}));
    $('sliders').append(label);
  });
  $('class-row').hidden = !about.classes.length;
  $('class').append(...about.classes.map((name) => new Option(name)));
  if (!navigator.gpu) $('accelerator').remove(1);

  $('file').onchange = $('accelerator').onchange = load;

  await loadLiteRt(RUNTIME, {threads: await hasThreads()}).catch((error) => {
    throw error instanceof Error ? error : new Error('LiteRT.js, which draws here, could not be fetched.');
  });
  await load();
}

async function begin() {
  fill(0);
  await choose(0);
  $('sliders').oninput = $('truncation').oninput = show;
  $('new').onclick = () => {
    const first = Math.floor(Math.random() * 2 ** 32);
    fill(first);
    choose(first);
  };
  $('seed').onchange = () => choose(Math.min(2 ** 32 - 1, Math.max(0, Math.floor(Number($('seed').value) || 0))));
  $('walk').onclick = walk;
  $('class').onchange = redraw;
  $('save').onclick = () => $('picture').toBlob((blob) => {
    const link = Object.assign(document.createElement('a'), {href: URL.createObjectURL(blob), download: name()});
    link.click();
    URL.revokeObjectURL(link.href);
  });
  await keepForOffline().catch(() => {});  // a browser that forbids it still draws
}

/** As keras_dcgan.sample names a seed's picture; what was changed by hand is no seed's. */
function name() {
  const own = latent(seed, about.latent_dim), isOwn = edited(z).every((value, i) => value === own[i]);
  return isOwn ? `seed-${String(seed).padStart(4, '0')}.png` : 'picture.png';
}

async function keepForOffline() {
  await navigator.serviceWorker?.register('sw.js');
  const cache = await caches.open('keras-dcgan');
  const fetched = performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => name.startsWith('http'));
  await Promise.allSettled([location.pathname, ...new Set(fetched)].map((name) => cache.add(name)));  // an extension's may fail
}

start().catch((error) => problem(error.message ?? error));
