// The instrument: images, their saliency maps and a rule; it upsamples, normalises, thresholds, fills and draws here,
// in the browser. An anywidget module in a notebook; in a report and on a page the same text, inlined, with `mount`.
// It imports nothing. Arithmetic is float32, rounded step by step as masktune.masking does it: masks are the same bits.

const round = Math.fround;
const TINY = 2 ** -126;

// ---------------------------------------------------------------- numbers

export function bytesOf(text) {
  const plain = atob(text);
  const bytes = new Uint8Array(plain.length);
  for (let i = 0; i < plain.length; i++) bytes[i] = plain.charCodeAt(i);
  return bytes;
}

function halfValue(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const power = (bits >> 10) & 31;
  const rest = bits & 1023;
  if (power === 31) return rest ? NaN : sign * Infinity;
  return power ? sign * 2 ** (power - 15) * (1 + rest / 1024) : sign * 2 ** -24 * rest;
}

// base64 of little-endian float16 -> Float32Array
export function mapOf(text) {
  const bytes = bytesOf(text);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) values[i] = halfValue(bytes[2 * i] | (bytes[2 * i + 1] << 8));
  return values;
}

function neighbours(count, side) {
  const found = { low: new Int32Array(side), high: new Int32Array(side), share: new Float32Array(side) };
  for (let i = 0; i < side; i++) {
    const place = Math.min(Math.max((i + 0.5) * (count / side) - 0.5, 0), count - 1);
    found.low[i] = Math.floor(place);
    found.high[i] = Math.min(found.low[i] + 1, count - 1);
    found.share[i] = place - found.low[i];
  }
  return found;
}

// masktune.masking.enlarge: bilinear, align_corners=False, first along rows, then along columns
export function enlarge(map, h, w, H, W) {
  const across = neighbours(w, W);
  const down = neighbours(h, H);
  const wide = new Float32Array(h * W);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < W; x++) {
      const share = across.share[x];
      const near = round(map[y * w + across.low[x]] * round(1 - share));
      wide[y * W + x] = near + round(map[y * w + across.high[x]] * share);
    }
  }
  const found = new Float32Array(H * W);
  for (let y = 0; y < H; y++) {
    const above = down.low[y] * W;
    const below = down.high[y] * W;
    const share = down.share[y];
    const rest = round(1 - share);
    for (let x = 0; x < W; x++) {
      found[y * W + x] = round(wide[above + x] * rest) + round(wide[below + x] * share);
    }
  }
  return found;
}

// masktune.masking.normalize, of one map
export function normalize(map, h, w, H, W) {
  const found = enlarge(map, h, w, H, W);
  let low = Infinity;
  let high = -Infinity;
  for (const value of found) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const range = round(high - low);
  if (range <= round(round(1e-6) * Math.abs(high))) return found.fill(0);
  const by = Math.max(range, TINY);
  for (let i = 0; i < found.length; i++) found[i] = round(found[i] - low) / by;
  return found;
}

function moments(saliency) {
  let count = 0;
  let total = 0;
  for (const value of saliency) {
    if (value > 0) count++;
    total += Math.floor(value * 2 ** 24);
  }
  count = round(Math.max(count, 1));
  const mean = round(round(round(total) / 2 ** 24) / count);
  let squares = 0;
  for (const value of saliency) {
    if (value > 0) {
      const apart = round(value - mean);
      squares += Math.floor(round(apart * apart) * 2 ** 32);
    }
  }
  return { mean, std: round(Math.sqrt(round(round(round(squares) / 2 ** 32) / count))) };
}

function before(value) {
  const bits = new Uint32Array(new Float32Array([value]).buffer);
  bits[0] -= 1;
  return new Float32Array(bits.buffer)[0];
}

function otsuHeight(saliency) {
  const bins = 256;
  const counts = new Float32Array(bins);
  for (const value of saliency) if (value > 0) counts[Math.min(Math.floor(value * bins), bins - 1)] += 1;
  const below = new Float32Array(bins);
  const weighted = new Float32Array(bins);
  let number = 0;
  let weight = 0;
  for (let i = 0; i < bins; i++) {
    number += counts[i];
    weight += round(counts[i] * round((i + 0.5) / bins));
    below[i] = number;
    weighted[i] = weight;
  }
  let best = 0;
  let most = -Infinity;
  for (let i = 0; i < bins; i++) {
    const above = round(below[bins - 1] - below[i]);
    const left = round(weighted[i] / Math.max(below[i], 1));
    const right = round(round(weighted[bins - 1] - weighted[i]) / Math.max(above, 1));
    const gap = round(left - right);
    const variance = round(round(below[i] * above) * round(gap * gap));
    if (variance > most) {
      most = variance;
      best = i;
    }
  }
  return best === bins - 1 ? Infinity : before((best + 1) / bins); // a value of the next bin exceeds this
}

function quantileHeight(ordered, q) {
  const last = ordered.length - 1;
  let zeros = 0;
  let end = ordered.length;
  while (zeros < end) {
    const middle = (zeros + end) >> 1;
    if (ordered[middle] > 0) end = middle;
    else zeros = middle + 1;
  }
  const count = ordered.length - zeros;
  const place = round(round(last + 1 - count) + round(round(q) * round(Math.max(count - 1, 0))));
  const low = Math.floor(place);
  const high = Math.ceil(place);
  const a = ordered[Math.min(low, last)];
  const b = ordered[Math.min(high, last)];
  return round(a + round(round(place - round(low)) * round(b - a)));
}

// What a rule needs to know of a normalised map, found when it is first asked for
export class Heights {
  constructor(saliency) {
    this.saliency = saliency;
  }

  // the height above which a rule hides: float32, never below zero
  of(name, strength) {
    if (name === "fixed") return round(strength);
    if (name === "mean_std") {
      this.moments ??= moments(this.saliency);
      return Math.max(round(this.moments.mean + round(round(strength) * this.moments.std)), 0);
    }
    if (name === "quantile") {
      this.ordered ??= this.saliency.slice().sort();
      return Math.max(quantileHeight(this.ordered, strength), 0);
    }
    if (name === "otsu") {
      this.otsu ??= otsuHeight(this.saliency);
      return this.otsu;
    }
    throw new Error(`the browser does not know the rule ${name}`);
  }
}

// (H x W) 1 where hidden: what `Threshold(name, strength)(map, (H, W))` gives
export function maskOf(map, h, w, H, W, name, strength) {
  const saliency = normalize(map, h, w, H, W);
  const height = new Heights(saliency).of(name, strength);
  return Uint8Array.from(saliency, (value) => (value > height ? 1 : 0));
}

// ---------------------------------------------------------------- colours and fills

// black, violet, orange, yellow: readable in both themes and by colour-blind people
const HEAT = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];
const OUTLINE = 0xff009fe6; // #E69F00, as ABGR
const packed = (r, g, b) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

function heatColor(value) {
  const place = Math.min(Math.max(value, 0), 1) * (HEAT.length - 1);
  const low = Math.min(Math.floor(place), HEAT.length - 2);
  const mix = (c) => Math.round(HEAT[low][c] + (place - low) * (HEAT[low + 1][c] - HEAT[low][c]));
  return [mix(0), mix(1), mix(2)];
}

const HEATS = Uint32Array.from({ length: 256 }, (_, i) => packed(...heatColor(i / 255)));

function scrambled(number) {
  for (const [shift, factor] of [[16, 0x7feb352d], [15, 0x045d9f3b], [16, 0x045d9f3b]]) {
    number = Math.imul(number ^ (number >>> shift), factor) >>> 0;
  }
  return (number ^ (number >>> 16)) >>> 0;
}

// masktune.masking's noise of an image: a standard normal number for each channel and pixel
function noiseOf(index, pixels) {
  const key = scrambled(index >>> 0);
  const noise = new Float32Array(3 * pixels);
  for (let i = 0; i < noise.length; i++) {
    const first = scrambled((key ^ scrambled(i)) >>> 0);
    const radius = Math.min((first + 0.5) / 2 ** 32, 1);
    const angle = (scrambled((first ^ 0x2545f491) >>> 0) + 0.5) / 2 ** 32;
    noise[i] = Math.sqrt(-2 * Math.log(radius)) * Math.cos(2 * Math.PI * angle);
  }
  return noise;
}

const byte = (value) => Math.min(Math.max(Math.round(value), 0), 255);

// A page's image with its map, drawn on the card's canvases
class Picture {
  constructor(about, page) {
    this.about = about;
    [this.H, this.W] = page.size;
    [this.h, this.w] = page.grid;
    this.map = mapOf(about.map);
    this.saliency = normalize(this.map, this.h, this.w, this.H, this.W);
    this.heights = new Heights(this.saliency);
    this.mask = new Uint8Array(this.H * this.W);
    this.height = Infinity;
    this.area = 0;
  }

  async load() {
    const image = new Image();
    image.src = this.about.image;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = this.W;
    canvas.height = this.H;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0, this.W, this.H);
    this.pixels = new Uint32Array(context.getImageData(0, 0, this.W, this.H).data.buffer);
    this.faded = this.pixels.map((p) => packed(fade(p & 255), fade((p >> 8) & 255), fade((p >> 16) & 255)));
    return this;
  }

  measure(name, strength) {
    const height = this.heights.of(name, strength);
    if (height === this.height) return;
    this.height = height;
    const { mask, saliency } = this;
    let count = 0;
    for (let i = 0; i < mask.length; i++) count += mask[i] = saliency[i] > height ? 1 : 0;
    this.area = count / mask.length;
  }

  paint(fill) {
    if (fill === "zero") return () => 0xff000000;
    const { pixels, mask } = this;
    const sums = [0, 0, 0];
    const squares = [0, 0, 0];
    let count = 0;
    for (let i = 0; i < mask.length; i++) {
      if (mask[i]) continue;
      count++;
      for (let c = 0; c < 3; c++) {
        const value = (pixels[i] >> (8 * c)) & 255;
        sums[c] += value;
        squares[c] += value * value;
      }
    }
    const mean = sums.map((sum) => sum / Math.max(count, 1));
    const flat = packed(...mean.map(byte));
    if (fill === "mean") return () => flat;
    if (fill === "blur") return this.blur(mean);
    this.noise ??= noiseOf(this.about.index, mask.length);
    const std = squares.map((sum, c) => Math.sqrt(Math.max(sum / Math.max(count, 1) - mean[c] ** 2, 0)));
    const at = (c, i) => byte(mean[c] + std[c] * this.noise[c * mask.length + i]);
    return (i) => packed(at(0, i), at(1, i), at(2, i));
  }

  // the visible pixels spread over the hidden ones, worked out on a coarse grid: a frame is short
  blur(mean) {
    const { H, W, pixels, mask } = this;
    const rows = Math.min(H, 28);
    const columns = Math.min(W, 28);
    const coarse = Array.from({ length: 4 }, () => new Float32Array(rows * columns));
    for (let y = 0; y < H; y++) {
      for (let x = 0; x < W; x++) {
        const i = y * W + x;
        if (mask[i]) continue;
        const cell = Math.floor((y * rows) / H) * columns + Math.floor((x * columns) / W);
        for (let c = 0; c < 3; c++) coarse[c][cell] += (pixels[i] >> (8 * c)) & 255;
        coarse[3][cell] += 1;
      }
    }
    const [red, green, blue, weight] = coarse.map((part) => spread(part, rows, columns));
    const one = (W / columns) * (H / rows);
    return (i) => {
      const y = Math.floor((Math.floor(i / W) * rows) / H);
      const x = Math.floor(((i % W) * columns) / W);
      const cell = y * columns + x;
      if (weight[cell] < 1e-3 * one) return packed(...mean.map(byte));
      return packed(...[red, green, blue].map((part) => byte(part[cell] / weight[cell])));
    };
  }

  // image: once
  drawImage(canvas) {
    put(canvas, this.W, this.H, this.pixels);
  }

  drawMap(canvas) {
    put(canvas, this.W, this.H, Uint32Array.from(this.saliency, (value) => HEATS[Math.round(255 * value)]));
  }

  // the image faded where it stays, clear where it will be hidden, with an outline
  drawHidden(canvas) {
    const { H, W, mask, pixels, faded } = this;
    const by = Math.max(Math.floor(224 / Math.max(H, W)), 1);
    const out = buffer(canvas, W * by, H * by);
    const wide = W * by;
    const stroke = by > 1 ? 1 : 2;
    for (let y = 0; y < H; y++) {
      for (let x = 0; x < W; x++) {
        const i = y * W + x;
        const color = mask[i] ? pixels[i] : faded[i];
        const start = y * by * wide + x * by;
        if (by === 1) out[start] = color;
        else for (let v = 0; v < by; v++) out.fill(color, start + v * wide, start + v * wide + by);
      }
    }
    for (let y = 0; y < H; y++) {
      for (let x = 0; x < W; x++) {
        const i = y * W + x;
        const at = mask[i];
        if (x && at !== mask[i - 1]) line(out, wide, x * by - (stroke - 1), y * by, stroke, by);
        if (y && at !== mask[i - W]) line(out, wide, x * by, y * by - (stroke - 1), by, stroke);
      }
    }
    show(canvas);
  }

  drawLeft(canvas, fill) {
    const { mask, pixels } = this;
    const out = buffer(canvas, this.W, this.H);
    const paint = this.paint(fill);
    if (fill === "zero") for (let i = 0; i < mask.length; i++) out[i] = mask[i] ? 0xff000000 : pixels[i];
    else for (let i = 0; i < mask.length; i++) out[i] = mask[i] ? paint(i) : pixels[i];
    show(canvas);
  }
}

const fade = (value) => Math.round(235 - 0.45 * (235 - value));

function line(out, wide, x, y, width, height) {
  for (let v = 0; v < height; v++) {
    const start = (y + v) * wide + x;
    out.fill(OUTLINE, start, start + width);
  }
}

function spread(values, rows, columns) {
  const across = smooth(values, rows, columns, columns / 8, (y, x) => y * columns + x, rows, columns);
  return smooth(across, rows, columns, rows / 8, (x, y) => y * columns + x, columns, rows);
}

function smooth(values, rows, columns, sigma, at, others, length) {
  const found = new Float32Array(rows * columns);
  const kernel = Array.from({ length }, (_, i) => Math.exp(-0.5 * (i / sigma) ** 2));
  for (let o = 0; o < others; o++) {
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (let j = 0; j < length; j++) sum += kernel[Math.abs(i - j)] * values[at(o, j)];
      found[at(o, i)] = sum;
    }
  }
  return found;
}

function buffer(canvas, width, height) {
  if (!canvas.shown || canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    canvas.context = canvas.getContext("2d");
    canvas.shown = new ImageData(width, height);
    canvas.numbers = new Uint32Array(canvas.shown.data.buffer);
  }
  return canvas.numbers;
}

function show(canvas) {
  canvas.context.putImageData(canvas.shown, 0, 0);
}

function put(canvas, width, height, numbers) {
  buffer(canvas, width, height).set(numbers);
  show(canvas);
}
