// The page: its controls change a state, which becomes an image and stands in the address.

import {draw, load, startRuntime} from './draw.js';
import {describe, get, keep, keepPage} from './files.js';
import {latent, slerp} from './latents.js';
import {blank, enlarge, grid, png, video} from './save.js';

const $ = (id) => document.getElementById(id);
const tiles = [...$('tiles').children], SEEDS = 2 ** 32, WASM_BYTES = 9.4e6;  // about: LiteRT.js has three builds

/** What is shown: a seed, or a place on the way from it `to` another; `amounts` along the directions. */
const state = {seed: 0, to: null, at: 0, amounts: [], truncation: 1, label: null};
export const image = blank(1, 1);  // as the model draws it; the canvas on the page shows it enlarged

let about, runtime, needed, drawnBy, walking, shown, tiled, made, queue = Promise.resolve();

function complain(error) {
  stop();
  problem(error.message ?? error);
}

/** One image at a time, and no model taken away while it draws. */
const inTurn = (work) => (queue = queue.then(work).catch(complain));

// From the state to an image.

const z = (seed) => latent(seed, about.latent_dim);
const truncated = (z) => z.map((value) => value * state.truncation);

function edited(start) {
  const result = truncated(start);
  state.amounts.forEach((amount, number) => about.directions[number].forEach((value, i) => (result[i] += amount * value)));
  return result;
}

/** The class asked for, or else the seed's, as everywhere: the classes in turn. */
function label(seed) {
  return about.classes.length ? state.label ?? seed % about.classes.length : null;
}

async function paint(canvas, latents, label) {
  const {width, height} = about, start = performance.now(), rgba = await draw(latents, label);
  $('status').textContent = `${(performance.now() - start).toFixed(1)} ms an image, ${drawnBy.file} on ${drawnBy.processor}`;
  Object.assign(canvas, {width, height}).getContext('2d').putImageData(new ImageData(rgba, width, height), 0, 0);
}

/** Draws what the state says; asked again while it waits its turn, it draws once. */
function show() {
  problem('');  // later it would hide what is said meanwhile
  const drawn = shown ??= inTurn(async () => {
    shown = null;
    const {seed, to, at} = state;  // they may change meanwhile
    await paint(image, edited(to === null ? z(seed) : slerp(z(seed), z(to), at)), label(seed));
    display();
    $('loading').hidden = true;
    document.body.dataset.ready = seed;  // for tests
  });
  tile();
  tell();
  return drawn;
}

/** The image as large as its place, smooth or in multiples of its pixels. */
function display() {
  const canvas = $('image'), scale = $('stage').clientWidth / image.width * devicePixelRatio;
  const isSmooth = $('edges').value === 'smooth' || scale < 1;
  enlarge(image, isSmooth ? scale : Math.floor(scale), isSmooth, canvas);
  canvas.style.width = `${canvas.width / devicePixelRatio}px`;
  canvas.hidden = false;
}

/** Of the tiles: eight, among them what is shown. */
const seeds = () => tiles.map((_, i) => state.seed - state.seed % tiles.length + i);

/** Draws the tiles if anything has changed for them; what an older call has not drawn yet is left out. */
function tile() {
  const mine = [seeds()[0], state.truncation, state.label, ...Object.values(drawnBy)].join();
  if (mine === tiled) return;
  tiled = mine;
  seeds().forEach((seed, i) => {
    const canvas = tiles[i].firstChild ?? tiles[i].appendChild(blank(0, 0));
    tiles[i].ariaLabel = `seed ${seed}`;
    inTurn(() => mine === tiled && paint(canvas, truncated(z(seed)), label(seed)));
  });
}

/** What is shown is what is marked, named, and in the address. */
function tell() {
  const {seed, to, at, truncation, amounts} = state, nearest = at < 0.5 ? seed : to, isMoved = to !== null || amounts.some(Boolean);
  seeds().forEach((seed, i) => {
    if (seed === nearest && tiles[i].ariaPressed !== 'true') tiles[i].scrollIntoView({block: 'nearest', inline: 'center'});
    tiles[i].setAttribute('aria-pressed', seed === nearest);
  });
  $('tiles').classList.toggle('edited', isMoved);
  $('seed').value = nearest;
  $('edited').textContent = to !== null ? `${seed} to ${to}` : isMoved ? 'changed' : '';
  $('reset').disabled = !isMoved && truncation === 1;
  amounts.forEach((amount, i) => fill($('sliders').children[i], amount, (amount > 0 ? '+' : '') + amount.toFixed(1)));
  fill($('variety'), truncation < 1 ? truncation - 1 : 2 * (truncation - 1), truncation.toFixed(2));
  clearTimeout(tell.later);
  if (!walking) tell.later = setTimeout(() => history.replaceState(null, '', address()), 250);  // Safari takes 100 in 30 s
}

/** A slider's value, its words, and its colour from the middle to the thumb, which is 22 px wide. */
function fill(row, value, words) {
  const input = row.querySelector('input'), place = (number) => `calc(11px + (100% - 22px) * ${(number - input.min) / (input.max - input.min)})`;
  input.value = value;
  input.style.setProperty('--low', place(Math.min(0, value)));
  input.style.setProperty('--high', place(Math.max(0, value)));
  input.ariaValueText = row.querySelector('bdi').textContent = words;
}

// The address: after the #, which no browser sends to a host.

function address() {
  const {seed, to, at, amounts, truncation, label} = state, entries = {seed};
  if (to !== null) Object.assign(entries, {to, at: at.toFixed(3)});
  amounts.forEach((amount, i) => amount && (entries[`d${i + 1}`] = amount));
  if (truncation !== 1) entries.truncation = truncation;
  if (label !== null) entries.class = about.classes[label];
  for (const id of ['file', 'edges']) if ($(id).selectedIndex || location.search) entries[id] = $(id).value;
  return `#${new URLSearchParams(entries)}`;
}

function readAddress({hash} = location) {
  const given = new URLSearchParams(hash.slice(1));
  const number = (name, least, most, otherwise = 0) => (isFinite(given.get(name) || NaN) ? Math.min(most, Math.max(least, given.get(name))) : otherwise);
  const seed = (name) => Math.floor(number(name, 0, SEEDS - 1)), to = given.get('to') ? seed('to') : null, named = about.classes.indexOf(given.get('class'));
  Object.assign(state, {
    seed: seed('seed'), to, at: to === null ? 0 : number('at', 0, 1), label: named < 0 ? null : named,
    truncation: number('truncation', 0, 1.5, 1), amounts: about.directions.map((_, i) => number(`d${i + 1}`, -4, 4)),
  });
  $('class').selectedIndex = named + 1;
  $('edges').selectedIndex = given.get('edges') === 'pixels';
  $('file').value = given.get('file') ?? new URLSearchParams(location.search).get('file');
  $('file').value ||= $('file')[0].value;
}

// What a person does.

/** A seed's own image: the directions go back to the middle; variety and class act on all tiles. */
function choose(seed) {
  stop();
  Object.assign(state, {seed, to: null, at: 0, amounts: state.amounts.map(() => 0)});
  return show();
}

/** The seeds that a walk goes round: the tiles of the class that is shown. */
function round() {
  if (about.classes.length > tiles.length / 2) {  // else there may be no other of that class
    state.label = label(state.seed);
    $('class').selectedIndex = state.label + 1;
    tile();
  }
  return seeds().filter((seed) => label(seed) === label(state.seed));
}

function stop() {
  if (!walking) return;
  walking = null;
  $('walk').textContent = 'Walk';
  tell();
}

$('walk').onclick = async () => {
  if (walking) return stop();
  const mine = walking = {}, stops = round(), calm = matchMedia('(prefers-reduced-motion: reduce)');
  $('walk').textContent = 'Stop';
  for (let {at} = state, last = performance.now();;) {
    const now = await new Promise(requestAnimationFrame);
    if (walking !== mine) return;
    at += Math.min(now - last, 100) / 1000 / $('pace').value;  // 100: of a tab that was away
    last = now;
    const to = state.to ?? stops[(stops.indexOf(state.seed) + 1) % stops.length];
    if (at < 1 && calm.matches) continue;  // a pause at each, and no motion
    Object.assign(state, at < 1 ? {to, at} : {seed: to, to: null, at: at = 0});
    await show();
  }
};

tiles.forEach((button, i) => (button.onclick = () => choose(seeds()[i])));
$('new').onclick = () => choose(Math.floor(Math.random() * SEEDS / tiles.length) * tiles.length);
$('seed').onfocus = stop;
$('seed').onchange = ({target}) => choose(Math.min(SEEDS - 1, Math.max(0, Math.floor(target.value))));
$('variety').oninput = ({target: {value}}) => {
  state.truncation = Number((1 + value / (value < 0 ? 1 : 2)).toFixed(2));
  show();
};
$('sliders').oninput = ({target}) => {
  state.amounts[[...$('sliders').children].indexOf(target.parentNode)] = Number(target.value);
  show();
};
$('reset').onclick = () => {
  state.truncation = 1;
  choose(Number($('seed').value));
};
$('class').onchange = ({target}) => {
  stop();
  state.label = target.selectedIndex ? target.selectedIndex - 1 : null;
  show();
};
$('file').onchange = $('accelerator').onchange = start;
$('edges').onchange = () => drawnBy && show();
addEventListener('hashchange', ({newURL}) => {
  if (!about) return;
  stop();
  readAddress(new URL(newURL));  // tell() may just have put the old one back
  if (drawnBy) show();
  if (start.file !== $('file').value && !$('options').disabled) start();
});
new ResizeObserver(() => image.width > 1 && display()).observe($('stage'));

// Saving and sharing.

/** As keras_dcgan.sample names a seed's own image. */
function name() {
  const padded = (seed) => String(seed).padStart(4, '0');
  return `seed-${padded(state.seed)}${state.to !== null ? `-to-${padded(state.to)}` : $('reset').disabled ? '' : '-changed'}.png`;
}

async function* frames(scale, isSmooth) {
  const stops = round(), canvas = blank(0, 0), FRAMES = 25;  // from one seed to the next
  for (let i = 0; i < stops.length * FRAMES; i++) {
    $('saved').textContent = `Drawing ${i + 1} of ${stops.length * FRAMES}`;
    const [from, to] = [0, 1].map((next) => stops[(Math.floor(i / FRAMES) + next) % stops.length]);
    await inTurn(() => paint(canvas, edited(slerp(z(from), z(to), i % FRAMES / FRAMES)), label(from)));
    yield enlarge(canvas, scale, isSmooth);
    if (!$('saving').open) throw new DOMException('', 'AbortError');
    if (document.hidden) throw Error('keep this page in front');  // timers are slow behind
  }
}

async function make() {
  const what = $('what').value, [scale, isSmooth] = $('size').value.split(' ').map(Number);
  if (what === 'walk') {
    const blob = await video(frames(scale, isSmooth), 40);
    return new File([blob], `walk.${blob.type.slice(6)}`, {type: blob.type});
  }
  await queue, await queue;  // a file that was loading draws after it
  const isOne = what === 'image', canvases = isOne ? [image] : tiles.map((button) => button.firstChild);
  const texts = {Title: about.name, Seed: isOne ? state.seed : seeds().join(' '), Address: address(), Copyright: about.licence ?? '', Source: about.data_note ?? ''};
  const blob = await png(grid(canvases.map((canvas) => enlarge(canvas, scale, isSmooth)), isOne ? 1 : 4), texts);
  return new File([blob], isOne ? name() : 'seeds.png', {type: blob.type});
}

async function attempt(work) {
  const pressed = document.activeElement;
  $('close').focus();  // what is disabled loses it
  $('download').disabled = $('share').disabled = true;
  $('saved').textContent = await work().catch((error) => (error.name === 'AbortError' ? '' : `That did not work: ${error.message}`)) ?? '';
  $('download').disabled = $('share').disabled = false;
  if (document.activeElement === $('close')) pressed.focus();
}

$('save').onclick = () => {
  stop();
  $('saving').onchange();
  $('saving').showModal();
};
$('saving').onchange = () => (made = $('saved').textContent = '');
$('close').onclick = () => $('saving').close();
$('download').onclick = () => attempt(async () => {
  const file = await make(), link = Object.assign(document.createElement('a'), {href: URL.createObjectURL(file), download: file.name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);  // Safari reads it later
  return `Saved as ${file.name}`;
});
$('share').hidden = !navigator.canShare?.({files: [new File([], 'a.png', {type: 'image/png'})]});
$('share').onclick = () => attempt(async () => {
  const file = await (made ||= make().catch((error) => (made = '', Promise.reject(error))));
  if (navigator.userActivation?.isActive === false) return 'Ready: press Share once more.';
  await navigator.share({files: [file], title: about.name});
});

// The start.

const urlOf = (file) => `../${file}?${about.files[file].sha256}`;

function introduce() {
  $('title').textContent = document.title = about.name;
  document.documentElement.style.setProperty('--aspect', about.width / about.height);
  const files = Object.entries(about.files).filter(([name]) => name.endsWith('.tflite'));
  files.sort(([one, a], [other, b]) => /int8\./.test(other) - /int8\./.test(one) || a.bytes - b.bytes);
  $('file').append(...files.map(([name, {bytes}]) => new Option(`${name.replace(/generator_|\.tflite/g, '')}, ${(bytes / 1e6).toFixed(1)} MB`, name)));
  $('class').append(...about.classes.map((name) => new Option(name)));
  $('class-row').hidden = !about.classes.length;
  about.directions.forEach((_, i) => {
    const row = $('sliders').appendChild($('variety').cloneNode(true));
    row.id = '';
    row.children[2].remove();
    row.firstElementChild.textContent = row.firstElementChild.title = about.direction_names?.[i] || `Direction ${i + 1}`;
    Object.assign(row.lastElementChild, {min: -4, max: 4, step: 0.1});
  });
  $('advanced').hidden = false;
  $('about').textContent = `A small neural network draws these images from random numbers, on this device; nothing you do leaves it. It was trained on ${about.data_note || `the images of “${about.name}”`}. Licence: ${about.licence || 'none is stated'}.`;
}

function progress(bytes) {
  const total = WASM_BYTES + about.files[$('file').value].bytes, read = Math.min(total, bytes);
  $('progress').value = read / total;
  $('loading-text').textContent = `${(read / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
}

const wanted = () => $('file').value + $('accelerator').value;

async function loadModel(file, accelerator) {
  const url = urlOf(file);
  try {
    const data = await get(url, {...about.files[file], isLasting: true, progress: (bytes) => progress(WASM_BYTES + bytes)});
    drawnBy = {file, ...await load(data, accelerator)};
    keep(url, data, needed).catch(() => {});  // now that it works; a full store keeps nobody from drawing
    return true;
  } catch (error) {
    $('advanced').open = true;  // for another file or processor
    throw error;
  } finally {  // the lists say what draws, also where that has failed, or what is to draw next
    if (drawnBy && wanted() === file + accelerator) [$('file').value, $('accelerator').value] = [start.file = drawnBy.file, drawnBy.accelerator], tell();
  }
}

/** With the lists' file and processor; if that fails, what drew before goes on. */
async function start() {
  const file = start.file = $('file').value, accelerator = $('accelerator').value;
  if (!await inTurn(() => loadModel(file, accelerator))) return;
  await show();
  $('tiles').disabled = $('controls').disabled = false;
  start.kept ||= navigator.serviceWorker?.register('sw.js', {updateViaCache: 'none'}).then(keepPage).then(() => keep(runtime.url, runtime.wasmBinary, needed)).catch(() => {});
}

async function open() {
  $('loading').hidden = false;
  about = await describe();
  introduce();
  readAddress();
  tell();
  runtime = await startRuntime(progress);
  needed = [runtime.url, ...Object.keys(about.files).map(urlOf)];
  if (!runtime.hasGpu) $('accelerator').options[1].remove();
  $('options').disabled = false;
  await start();
}

open().catch(complain);
