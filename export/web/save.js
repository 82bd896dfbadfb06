// Images as files: enlarged, as PNG that tells how it was made, as a video.

export const blank = (width, height) => Object.assign(document.createElement('canvas'), {width, height});

/** Draws `source` `scale` times as large, onto a canvas that is there or a new one -> the canvas. */
export function enlarge(source, scale, isSmooth, canvas = blank(0, 0)) {
  const [width, height] = [source.width * scale, source.height * scale].map(Math.round), context = canvas.getContext('2d');
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
  context.clearRect(0, 0, width, height);
  context.imageSmoothingEnabled = isSmooth;
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, 0, 0, width, height);
  return canvas;
}

/** Canvases of one size, side by side and below each other. */
export function grid(canvases, columns) {
  const [{width, height}] = canvases, sheet = blank(columns * width, Math.ceil(canvases.length / columns) * height);
  canvases.forEach((canvas, i) => sheet.getContext('2d').drawImage(canvas, i % columns * width, Math.floor(i / columns) * height));
  return sheet;
}

/** A PNG with `texts`, {keyword: text}, as iTXt chunks after its header (PNG, third edition, 11.3.3). */
export async function png(canvas, texts) {
  const bytes = await (await new Promise((resolve) => canvas.toBlob(resolve))).arrayBuffer(), header = 33;  // signature and IHDR
  const chunks = Object.entries(texts).map(([keyword, text]) => {
    const body = new TextEncoder().encode(`iTXt${keyword}\0\0\0\0\0${text}`), chunk = new Uint8Array(body.length + 8), view = new DataView(chunk.buffer);
    view.setUint32(0, body.length - 4);
    chunk.set(body, 4);
    view.setUint32(body.length + 4, crc32(body));
    return chunk;
  });
  return new Blob([bytes.slice(0, header), ...chunks, bytes.slice(header)], {type: 'image/png'});
}

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 && 0xedb88320);
  }
  return ~crc;
}

/** An async generator of canvases, recorded while they are shown, each so many milliseconds: MP4 where the browser writes it. */
export async function video(frames, milliseconds) {
  const recorded = [], canvas = blank(1, 1), mimeType = ['video/mp4;codecs=avc1.42E01E', 'video/mp4', 'video/webm'].find((type) => MediaRecorder.isTypeSupported(type));
  const recorder = canvas.getContext('2d') && new MediaRecorder(canvas.captureStream(), {mimeType, videoBitsPerSecond: 8e6});
  recorder.ondataavailable = ({data}) => recorded.push(data);
  try {
    for await (const frame of frames) {
      enlarge(frame, 1, false, canvas);
      if (recorder.state === 'inactive') recorder.start();
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
    }
  } finally {
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    if (recorder.state !== 'inactive') await (recorder.stop(), stopped);
  }
  return new Blob(recorded, {type: mimeType.split(';')[0]});
}
