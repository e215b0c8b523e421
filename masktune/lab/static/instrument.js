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

const KNOWN = ["mean_std", "quantile", "fixed", "otsu"];

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

// masktune.masking's noise of an image at some of its pixels: standard normal numbers, channel by channel
function noiseOf(index, pixels, places) {
  const key = scrambled(index >>> 0);
  const noise = new Float32Array(3 * places.length);
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < places.length; i++) {
      const first = scrambled((key ^ scrambled(c * pixels + places[i])) >>> 0);
      const radius = Math.min((first + 0.5) / 2 ** 32, 1);
      const angle = (scrambled((first ^ 0x2545f491) >>> 0) + 0.5) / 2 ** 32;
      noise[c * places.length + i] = Math.sqrt(-2 * Math.log(radius)) * Math.cos(2 * Math.PI * angle);
    }
  }
  return noise;
}

const byte = (value) => Math.min(Math.max(Math.round(value), 0), 255);

// A page's image with its map. The mask is that of the image's own pixels; what is painted are as many as are seen.
class Picture {
  constructor(about, page) {
    this.about = about;
    [this.H, this.W] = page.size;
    [this.h, this.w] = page.grid;
    this.saliency = normalize(mapOf(about.map), this.h, this.w, this.H, this.W);
    this.heights = new Heights(this.saliency);
    this.ordered = this.saliency.slice().sort();
    this.heights.ordered = this.ordered;
    this.height = Infinity;
    this.area = 0;
    this.bits = null; // the kernel's mask, of a rule of one's own
    this.given = about.given ? bytesOf(about.given) : null; // marked by people: hidden in any case, eight pixels a byte
    this.protect = about.protect ? bytesOf(about.protect) : null; // never hidden
    this.drawn = page.source === "given"; // the map only says where masks were given: the rule hides nothing
  }

  // whether a pixel is hidden, once people's marks are heeded
  marked(place, hidden) {
    if (this.protect && bitOf(this.protect, place)) return 0;
    return hidden || (this.given && bitOf(this.given, place)) ? 1 : 0;
  }

  share() {
    if (!this.given && !this.protect) return 1 - upTo(this.ordered, this.height) / this.ordered.length;
    let count = 0;
    for (let i = 0; i < this.saliency.length; i++) count += this.marked(i, this.saliency[i] > this.height);
    return count / this.saliency.length;
  }

  async load() {
    this.image = new Image();
    this.image.src = this.about.image;
    await this.image.decode();
    return this;
  }

  measure(name, strength, given) {
    if (KNOWN.includes(name)) {
      this.bits = null;
      this.height = this.drawn ? Infinity : this.heights.of(name, strength);
      this.area = this.share();
    } else if (given) {
      this.bits = given;
      this.height = Infinity;
      this.area = given.reduce((count, bits) => count + ones(bits), 0) / (this.H * this.W);
    }
  }
}

function ones(bits) {
  let count = 0;
  for (; bits; bits &= bits - 1) count++;
  return count;
}

// A picture at the size it is seen: `width` pixels of the screen
class Shown {
  constructor(picture, width) {
    const { W, H, image, saliency } = picture;
    this.picture = picture;
    this.width = Math.max(Math.round(width), 8);
    this.height = Math.max(Math.round((this.width * H) / W), 8);
    const canvas = document.createElement("canvas");
    canvas.width = this.width;
    canvas.height = this.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = this.width < 1.5 * W || W > 64;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, this.width, this.height);
    this.pixels = new Uint32Array(context.getImageData(0, 0, this.width, this.height).data.buffer);
    this.faded = this.pixels.map((p) => packed(fade(p & 255), fade((p >> 8) & 255), fade((p >> 16) & 255)));
    this.places = new Uint32Array(this.pixels.length); // the image's pixel behind each
    for (let y = 0, i = 0; y < this.height; y++) {
      const row = Math.min(Math.floor(((y + 0.5) * H) / this.height), H - 1) * W;
      for (let x = 0; x < this.width; x++, i++) {
        this.places[i] = row + Math.min(Math.floor(((x + 0.5) * W) / this.width), W - 1);
      }
    }
    this.saliency = Float32Array.from(this.places, (place) => saliency[place]);
    this.mask = new Uint8Array(this.pixels.length);
    this.stroke = Math.max(Math.round(this.width / 64), 1);
  }

  hide() {
    const { mask, saliency, places } = this;
    const { picture } = this;
    const { bits, height } = picture;
    if (bits) for (let i = 0; i < mask.length; i++) mask[i] = bitOf(bits, places[i]);
    else for (let i = 0; i < mask.length; i++) mask[i] = saliency[i] > height ? 1 : 0;
    if (bits || !(picture.given || picture.protect)) return;
    for (let i = 0; i < mask.length; i++) mask[i] = picture.marked(places[i], mask[i]);
  }

  drawImage(canvas) {
    put(canvas, this.width, this.height, this.pixels);
  }

  drawMap(canvas) {
    put(canvas, this.width, this.height, Uint32Array.from(this.saliency, (value) => HEATS[Math.round(255 * value)]));
  }

  // the image faded where it stays, clear where it will be hidden, with an outline; what is protected has a tint
  drawHidden(canvas) {
    const { width, height, mask, pixels, faded, stroke, places } = this;
    const { protect } = this.picture;
    const out = buffer(canvas, width, height);
    for (let i = 0; i < mask.length; i++) out[i] = mask[i] ? pixels[i] : faded[i];
    if (protect) for (let i = 0; i < mask.length; i++) if (bitOf(protect, places[i])) out[i] = spared(faded[i]);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        if (x && mask[i] !== mask[i - 1]) line(out, width, x, y, stroke, 1);
        if (y && mask[i] !== mask[i - width]) line(out, width, x, y, 1, Math.min(stroke, height - y));
      }
    }
    show(canvas);
  }

  drawLeft(canvas, fill) {
    const { mask, pixels } = this;
    const out = buffer(canvas, this.width, this.height);
    if (fill === "zero") for (let i = 0; i < mask.length; i++) out[i] = mask[i] ? 0xff000000 : pixels[i];
    else {
      const paint = this.paint(fill);
      for (let i = 0; i < mask.length; i++) out[i] = mask[i] ? paint(i) : pixels[i];
    }
    show(canvas);
  }

  // what stands in the place of a hidden pixel
  paint(fill) {
    const { pixels, mask } = this;
    let count = 0;
    let [red, green, blue] = [0, 0, 0];
    for (let i = 0; i < mask.length; i++) {
      if (mask[i]) continue;
      const pixel = pixels[i];
      count++;
      red += pixel & 255;
      green += (pixel >> 8) & 255;
      blue += (pixel >> 16) & 255;
    }
    const mean = [red, green, blue].map((sum) => sum / Math.max(count, 1));
    const flat = packed(...mean.map(byte));
    if (fill === "mean") return () => flat;
    return fill === "blur" ? this.blur(flat) : this.noisy(mean, count);
  }

  noisy(mean, count) {
    const { pixels, mask, places, picture } = this;
    this.noise ??= noiseOf(picture.about.index, picture.H * picture.W, places);
    const { noise } = this;
    const squares = [0, 0, 0];
    for (let i = 0; i < mask.length; i++) {
      if (mask[i]) continue;
      for (let c = 0; c < 3; c++) squares[c] += (((pixels[i] >> (8 * c)) & 255) - mean[c]) ** 2;
    }
    const std = squares.map((sum) => Math.sqrt(sum / Math.max(count, 1)));
    const at = (c, i) => byte(mean[c] + std[c] * noise[c * mask.length + i]);
    return (i) => packed(at(0, i), at(1, i), at(2, i));
  }

  // the visible pixels spread over the hidden ones, worked out on a coarse grid: a frame is short
  blur(flat) {
    const { width, height, pixels, mask } = this;
    const rows = Math.min(height, 16);
    const columns = Math.min(width, 16);
    const cells = (this.cells ??= Uint16Array.from(mask, (_, i) =>
      Math.floor((Math.floor(i / width) * rows) / height) * columns + Math.floor(((i % width) * columns) / width)));
    const coarse = Array.from({ length: 4 }, () => new Float32Array(rows * columns));
    const [reds, greens, blues, counts] = coarse;
    for (let i = 0; i < mask.length; i++) {
      if (mask[i]) continue;
      const cell = cells[i];
      reds[cell] += pixels[i] & 255;
      greens[cell] += (pixels[i] >> 8) & 255;
      blues[cell] += (pixels[i] >> 16) & 255;
      counts[cell] += 1;
    }
    const [red, green, blue, weight] = coarse.map((part) => spread(part, rows, columns));
    const one = mask.length / (rows * columns);
    const colors = Uint32Array.from(weight, (found, cell) =>
      found < 1e-3 * one ? flat : packed(byte(red[cell] / found), byte(green[cell] / found), byte(blue[cell] / found)));
    return (i) => colors[cells[i]];
  }
}

const bitOf = (bits, i) => (bits[i >> 3] >> (7 - (i & 7))) & 1;

// a tint for what is protected
const spared = (p) => packed(byte(0.6 * (p & 255)), byte(0.6 * ((p >> 8) & 255) + 62), byte(0.6 * ((p >> 16) & 255) + 46));

const fade = (value) => Math.round(235 - 0.45 * (235 - value));

function line(out, wide, x, y, width, height) {
  const end = Math.min(x + width, wide);
  for (let v = 0; v < height; v++) {
    const row = (y + v) * wide;
    for (let i = row + x; i < row + end; i++) out[i] = OUTLINE;
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

// ---------------------------------------------------------------- elements

const percent = (share, places = 1) => `${(100 * share).toFixed(places)} %`;
const sure = (share) => (share > 0.995 && share < 1 ? "99 %" : `${Math.round(100 * share)} %`);
const short = (value) => String(Number(Number(value).toPrecision(6)));

// make("div", {class: "a", onclick: call}, child, "text")
function make(name, given = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Keys here are ours: in JupyterLab 1, 2 and 3 make headings of cells, Enter opens one, arrows fold them
function keep_keys(root) {
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  root.addEventListener("keydown", (event) => event.stopPropagation());
}

function choose(words, options, value, call) {
  const select = make("select", { "aria-label": words, onchange: (event) => call(event.target.value) });
  for (const [text, key] of options) select.append(make("option", { value: key }, text));
  select.value = value;
  return { label: make("label", { class: "mt-field" }, make("span", {}, words), select), select };
}

// ---------------------------------------------------------------- a histogram whose axis stays

const AXIS = 0.4; // of the image; what is more stands in the last bar
const BARS = 40;

class Histogram {
  constructor(sample, grid) {
    const [h, w] = grid;
    const size = [4 * h, 4 * w];
    const all = mapOf(sample.maps);
    this.heights = [];
    for (let start = 0; start < all.length; start += h * w) {
      const saliency = normalize(all.subarray(start, start + h * w), h, w, ...size);
      const found = new Heights(saliency);
      found.ordered = saliency.slice().sort();
      this.heights.push(found);
    }
    this.bars = svg("path", { class: "mt-bars" });
    this.mark = svg("line", { class: "mt-mean", y1: 2, y2: 52 });
    this.words = svg("text", { class: "mt-mean-words", y: 11 });
    this.picture = svg("svg", { viewBox: "0 0 320 70", class: "mt-histogram", role: "img" });
    this.picture.append(this.bars, svg("path", { class: "mt-axis", d: "M8 52.5H312" }), this.mark, this.words);
    for (const share of [0, 0.1, 0.2, 0.3, 0.4]) {
      const words = svg("text", { x: 8 + (304 * share) / AXIS, y: 65, class: "mt-tick" });
      words.setAttribute("text-anchor", share === 0 ? "start" : share === AXIS ? "end" : "middle");
      words.textContent = share === AXIS ? "40 % hidden or more" : `${Math.round(100 * share)} %`;
      if (share !== 0.3) this.picture.append(words);
    }
  }

  show(name, strength) {
    const counts = new Array(BARS).fill(0);
    let total = 0;
    for (const heights of this.heights) {
      const share = 1 - upTo(heights.ordered, heights.of(name, strength)) / heights.ordered.length;
      counts[Math.min(Math.floor((share / AXIS) * BARS), BARS - 1)] += 1;
      total += share;
    }
    const most = Math.max(...counts, 1);
    const wide = 304 / BARS;
    const bar = (count, i) => (count ? `M${8 + i * wide} 52v${(-36 * count) / most}h${wide - 1}v${(36 * count) / most}z` : "");
    this.bars.setAttribute("d", counts.map(bar).join("") || "M0 0");
    const mean = total / Math.max(this.heights.length, 1);
    const x = 8 + 304 * Math.min(mean / AXIS, 1);
    this.mark.setAttribute("x1", x);
    this.mark.setAttribute("x2", x);
    this.words.setAttribute("x", x > 200 ? x - 4 : x + 4);
    this.words.setAttribute("text-anchor", x > 200 ? "end" : "start");
    this.words.textContent = `mean ${percent(mean)}`;
    const said = `Share hidden in ${this.heights.length} images: on average ${percent(mean)}`;
    if (this.said !== said) this.picture.setAttribute("aria-label", (this.said = said));
    return mean;
  }
}

function svg(name, given) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) element.setAttribute(key, value);
  return element;
}

// how many of the ordered values do not exceed `height`
function upTo(ordered, height) {
  let low = 0;
  let high = ordered.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ordered[middle] > height) high = middle;
    else low = middle + 1;
  }
  return low;
}

// ---------------------------------------------------------------- a card

const COLUMNS = ["image", "map", "what is hidden", "what is left"];

class Card {
  constructor(panel, picture, place) {
    Object.assign(this, { panel, picture, place, about: picture.about });
    this.canvases = COLUMNS.map(() => make("canvas", {}));
    this.marker = make("i", {});
    const tiles = this.canvases.map((canvas, i) => make("span", { class: "mt-tile" }, canvas, i === 1 ? this.bar() : null));
    this.button = make("button", { class: "mt-open", type: "button", onclick: (event) => this.click(event) }, ...tiles);
    this.button.addEventListener("keydown", (event) => this.press(event));
    this.check = make("input", { type: "checkbox", onchange: () => panel.select(this.about.index, this.check.checked) });
    this.check.setAttribute("aria-label", `select ${this.name()}`);
    this.first = make("span", { class: "mt-said" });
    this.second = make("span", { class: "mt-then" });
    const words = make("div", { class: "mt-words" }, this.check, make("p", {}, this.first, make("br"), this.second));
    this.element = make("li", { class: "mt-card" }, this.button, words);
    const { about } = this;
    const { classes } = panel.options;
    const right = about.said === about.label;
    this.first.append(`is ${classes[about.label]}, says ${classes[about.said]} ${sure(about.sure)} `);
    this.first.append(make("b", { class: right ? "mt-right" : "mt-wrong" }, right ? "\u2713 right" : "\u2717 wrong"));
  }

  bar() {
    return make("span", { class: "mt-scale", title: "how high the map is; the mark is the threshold" }, this.marker);
  }

  name() {
    return this.about.path ? this.about.path.split(/[\\/]/).pop() : `image ${this.about.index}`;
  }

  draw(width) {
    const { picture, panel } = this;
    if (this.shown?.width !== width) {
      this.shown = new Shown(picture, width);
      this.shown.drawImage(this.canvases[0]);
      this.shown.drawMap(this.canvases[1]);
    }
    this.shown.hide();
    this.shown.drawHidden(this.canvases[2]);
    this.shown.drawLeft(this.canvases[3], panel.fill);
    const shown = Math.min(picture.height, 1);
    this.marker.style.transform = `translateY(${(100 * (1 - shown)).toFixed(1)}%)`;
    this.say();
  }

  say() {
    const { panel, picture, about, place } = this;
    const { classes } = panel.options;
    const answers = panel.answers();
    const parts = [`hidden ${percent(picture.area)}`];
    this.flipped = false;
    if (answers) {
      const now = answers.said[place];
      this.flipped = now !== about.said;
      parts.push(this.flipped ? " \u2192 " : ` \u2192 still ${classes[now]} ${sure(answers.kept[place])}`);
      if (this.flipped) parts.push(make("b", { class: "mt-flip" }, `\u21c4 says ${classes[now]}`));
    } else if (panel.host.live && panel.options.asks) {
      parts.push(" \u2192 asking");
    }
    if (parts.length === 2 && !parts[1].append && this.second.childNodes.length === 1) this.second.firstChild.data = parts.join("");
    else if (parts.every((part) => !part.append)) this.second.textContent = parts.join("");
    else this.second.replaceChildren(...parts);
    this.element.classList.toggle("mt-flipped", this.flipped);
    clearTimeout(this.later); // a screen reader is told once the slider rests
    this.later = setTimeout(() => this.button.setAttribute("aria-label", this.describe()), 200);
  }

  describe() {
    return `${this.name()}: ${this.first.textContent}, ${this.second.textContent}. Open`;
  }

  click(event) {
    if (event.shiftKey || event.ctrlKey || event.metaKey) this.panel.select(this.about.index, !this.check.checked);
    else this.panel.open(this);
  }

  press(event) {
    const { shown } = this.panel;
    const at = shown.indexOf(this);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step && shown[at + step]) {
      shown[at + step].button.focus();
      event.preventDefault();
      event.stopPropagation();
    }
  }
}

// ---------------------------------------------------------------- the panel

const VERDICTS = [["right or wrong", "all"], ["right", "right"], ["wrong", "wrong"]];
const EVERY = { class: -1, predicted: -1, group: -1, verdict: "all", low: 0, high: 1 };

export class Instrument {
  constructor(root, host) {
    Object.assign(this, { root, host, cards: [], shown: [], selected: new Set(host.get("selected") ?? []) });
    this.options = host.get("options");
    this.controls = structuredClone(host.get("controls"));
    this.build();
    host.listen("page", () => this.turned());
    host.listen("controls", () => this.told());
    host.listen("answers", () => this.answered());
    host.listen("finding", () => this.conclude());
    host.listen("masks", () => this.repaint());
    host.listen("summary", () => this.summarise());
    host.listen("selected", () => this.chosen(host.get("selected")));
    this.ready = this.turned();
    this.summarise();
  }

  get rule() {
    return this.options.rules.find((rule) => rule.name === this.controls.rule);
  }

  get strength() {
    return this.controls.strengths[this.controls.rule];
  }

  get fill() {
    return this.controls.fill;
  }

  get code() {
    const { name, parameter } = this.rule;
    return parameter ? `${name}(${parameter}=${short(this.strength)})` : `${name}()`;
  }

  // what the model says of the page as it is now; null where it has not been asked
  answers() {
    const { grid } = this.options;
    if (this.host.live || !grid) {
      const found = this.host.get("answers");
      return found && found.key === this.key() ? found : null;
    }
    if (grid.rule !== this.controls.rule || grid.fill !== this.fill) return null;
    const off = (answer) => Math.abs(answer.strength - (this.strength ?? answer.strength));
    const best = grid.answers.reduce((found, answer) => (off(answer) < off(found) ? answer : found));
    return off(best) <= grid.within ? best : null;
  }

  key() {
    return `${this.code}|${this.fill}|${this.host.get("page").id}`;
  }

  build() {
    const { options, controls } = this;
    const rules = options.rules.map((rule) => [rule.words, rule.name]);
    this.ruleField = choose("hide where the map is above", rules, controls.rule, (value) => this.set({ rule: value }));
    const fills = options.fills.map((fill) => [options.fill_words[fill] ?? fill, fill]);
    this.fillField = choose("hidden pixels become", fills, controls.fill, (value) => this.set({ fill: value }));
    this.slider = make("input", { type: "range", oninput: () => this.move(this.slider.value) });
    this.number = make("input", { type: "number", onchange: () => this.move(this.number.value) });
    this.parameter = make("span", {});
    this.codeText = make("code", { class: "mt-code" });
    const strength = make("div", { class: "mt-strength" }, this.parameter, this.slider, this.number);
    this.strengthRow = strength;
    this.headline = make("p", { class: "mt-headline" });
    this.status = make("p", { class: "mt-status", role: "status" });
    this.grid = make("ul", { class: "mt-grid" });
    this.empty = make("p", { class: "mt-empty", hidden: true }, "No image matches these filters.");
    const names = COLUMNS.map((name) => make("span", {}, name));
    const head = () => make("div", { class: "mt-names" }, ...names.map((name) => name.cloneNode(true)));
    const heads = Array.from({ length: 8 }, (_, i) => {
      const row = head();
      if (i) row.setAttribute("aria-hidden", "true");
      return row;
    });
    this.picked = make("span", { class: "mt-picked" });
    this.save = make("button", { type: "button", class: "mt-small", onclick: () => this.export() }, "save as CSV");
    this.dialog = make("dialog", { class: "mt-detail", "aria-label": "One image" });
    this.dialog.addEventListener("close", () => this.opened?.button.focus());
    this.side = make("div", { class: "mt-side" });
    const top = make("div", { class: "mt-top" }, make("div", { class: "mt-controls" },
      make("div", { class: "mt-line" }, this.ruleField.label, this.codeText, this.fillField.label), strength), this.side);
    this.root.classList.add("masktune", "mt");
    this.root.classList.toggle("mt-own", !themed()); // nobody else says which theme: the reader's own
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", options.title);
    keep_keys(this.root);
    this.root.style.setProperty("--mt-tile", `${controls.tile}px`);
    this.root.replaceChildren(this.headline, top, this.filters(), this.pages(), make("div", { class: "mt-head" }, ...heads),
      this.grid, this.empty, make("div", { class: "mt-foot" }, this.status, make("span", { class: "mt-picks" }, this.picked,
        this.save)), make("p", { class: "mt-made" }, options.made), this.dialog);
    if (options.sample) {
      this.histogram = new Histogram(options.sample, options.sample.grid);
      this.side.append(this.histogram.picture);
    }
    this.follow();
    this.chosen([...this.selected]);
    this.watch = new ResizeObserver(() => {
      this.wide = undefined; // as many pixels as are seen now
      this.repaint();
    });
    this.watch.observe(this.grid);
  }

  filters() {
    const { options } = this;
    const filters = this.controls.filters;
    const set = (name) => (value) => this.narrow({ [name]: Number.isNaN(Number(value)) ? value : Number(value) });
    const all = (words, names) => [[words, -1], ...names.map((name, i) => [name, i])];
    this.fields = {
      class: choose("class", all("all", options.classes), filters.class, set("class")),
      predicted: choose("says", all("all", options.classes), filters.predicted, set("predicted")),
      verdict: choose("verdict", VERDICTS, filters.verdict, set("verdict")),
    };
    if (options.groups.length) this.fields.group = choose("group", all("all", options.groups), filters.group, set("group"));
    const bound = (name, words) => make("input", { type: "number", min: 0, max: 1, step: 0.01, "aria-label": words,
      value: filters[name], onchange: (event) => this.narrow({ [name]: Number(event.target.value) }) });
    this.bounds = { low: bound("low", "confidence at least"), high: bound("high", "confidence at most") };
    const between = make("span", { class: "mt-field" }, make("span", {}, "confidence"), this.bounds.low, "to", this.bounds.high);
    this.chips = make("span", { class: "mt-chips" });
    this.reset = make("button", { type: "button", class: "mt-small", hidden: true, onclick: () => this.narrow({ ...EVERY }) },
      "reset");
    this.sortField = choose("sort by", options.sorts.map((sort) => [sort, sort]), this.controls.sort,
      (value) => this.set({ sort: value, page: 1 }));
    const fields = Object.values(this.fields).map((field) => field.label);
    return make("details", { class: "mt-filters" }, make("summary", {}, "filters ", this.chips),
      make("div", { class: "mt-line" }, ...fields, between, this.sortField.label, this.reset));
  }

  pages() {
    const turn = (by) => () => this.set({ page: this.controls.page + by });
    this.previous = make("button", { type: "button", class: "mt-small", onclick: turn(-1) }, "\u2039 previous");
    this.next = make("button", { type: "button", class: "mt-small", onclick: turn(1) }, "next \u203a");
    this.pageNumber = make("input", { type: "number", min: 1, "aria-label": "page", value: this.controls.page,
      onchange: (event) => this.set({ page: Number(event.target.value) }) });
    this.counts = make("span", { class: "mt-counts" });
    const sizes = [...new Set([6, 12, 24, 48, this.controls.page_size])].sort((a, b) => a - b);
    const tiles = [...new Set([48, 72, 96, 128, 224, this.controls.tile])].sort((a, b) => a - b);
    this.sizeField = choose("images a page", sizes.map((size) => [String(size), size]), this.controls.page_size,
      (value) => this.set({ page_size: Number(value), page: 1 }));
    this.tileField = choose("tile", tiles.map((tile) => [`${tile} px`, tile]), this.controls.tile,
      (value) => this.set({ tile: Number(value) }));
    const turns = this.host.live ? [this.previous, this.pageNumber, this.next] : [];
    return make("div", { class: "mt-line mt-pages" }, ...turns, this.counts, this.host.live ? this.sizeField.label : null,
      this.tileField.label);
  }

  // ------------------------------------------------------------ what the user does

  move(text) {
    const { low, high } = this.rule;
    const value = Number(text);
    if (text === "" || Number.isNaN(value)) return this.follow();
    const strengths = { ...this.controls.strengths, [this.rule.name]: Math.min(Math.max(value, low), high) };
    this.set({ strengths });
  }

  narrow(filters) {
    this.set({ filters: { ...this.controls.filters, ...filters }, page: 1 });
  }

  set(controls) {
    Object.assign(this.controls, controls);
    this.root.style.setProperty("--mt-tile", `${this.controls.tile}px`);
    this.follow();
    if ("tile" in controls) this.wide = undefined;
    const paints = ["rule", "strengths", "fill", "tile"].some((name) => name in controls);
    if (paints) this.repaint();
    if (!this.host.live && !paints) this.arrange();
    clearTimeout(this.sending);
    this.ahead = true; // what the kernel says of the controls is old until it has been told
    this.sending = setTimeout(() => {
      this.ahead = false;
      this.host.send(structuredClone(this.controls));
    }, paints ? 60 : 0);
  }

  select(index, on) {
    if (on) this.selected.add(index);
    else this.selected.delete(index);
    this.chosen([...this.selected]);
    this.host.pick?.([...this.selected]);
  }

  open(card) {
    this.opened = card;
    this.detail();
    this.dialog.showModal();
  }

  export() {
    const head = ["index", "path", "class", "says", "probability", "group", "hidden"];
    const { classes, groups } = this.options;
    const cell = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
    const known = this.cards.filter((card) => this.selected.has(card.about.index));
    const rows = (known.length ? known : this.shown).map(({ about, picture }) => [about.index, about.path ?? "",
      classes[about.label], classes[about.said], about.sure.toFixed(4), groups[about.group] ?? "", picture.area.toFixed(4)]);
    const text = [head, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
    const link = make("a", { download: "masktune-images.csv", href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // ------------------------------------------------------------ what is shown

  // the controls as they are set, in rule, slider, code, chips
  follow() {
    const { controls, rule } = this;
    this.ruleField.select.value = controls.rule;
    this.fillField.select.value = controls.fill;
    this.strengthRow.hidden = !rule.parameter;
    if (rule.parameter) {
      for (const input of [this.slider, this.number]) {
        for (const [name, value] of [["min", rule.low], ["max", rule.high], ["step", rule.step]]) input[name] = value;
        if (Number(input.value) !== this.strength) input.value = short(this.strength);
        input.setAttribute("aria-label", `${rule.parameter}: ${rule.long}`);
      }
      this.parameter.textContent = `${rule.parameter} =`;
    }
    this.codeText.textContent = this.code;
    for (const [name, field] of Object.entries(this.fields)) field.select.value = controls.filters[name];
    for (const [name, input] of Object.entries(this.bounds)) input.value = controls.filters[name];
    this.sortField.select.value = controls.sort;
    this.sizeField.select.value = controls.page_size;
    this.tileField.select.value = controls.tile;
    this.pageNumber.value = controls.page;
    this.writeChips();
  }

  writeChips() {
    const { filters } = this.controls;
    const { classes, groups } = this.options;
    const words = { class: (i) => `class ${classes[i]}`, predicted: (i) => `says ${classes[i]}`, verdict: (v) => v,
      group: (i) => groups[i], low: (v) => `sure at least ${v}`, high: (v) => `sure at most ${v}` };
    const active = Object.keys(EVERY).filter((name) => filters[name] !== EVERY[name]);
    const chip = (name) => make("button", { type: "button", class: "mt-chip", "aria-label": `remove the filter ${words[name](filters[name])}`,
      onclick: (event) => {
        event.preventDefault();
        this.narrow({ [name]: EVERY[name] });
      } }, `${words[name](filters[name])} \u00d7`);
    const said = active.join() + JSON.stringify(filters);
    if (said === this.chipsSaid) return;
    this.chipsSaid = said;
    this.chips.replaceChildren(...active.map(chip));
    this.reset.hidden = !active.length;
  }

  async turned() {
    const page = this.host.get("page");
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const pictures = await Promise.all(page.images.map((about) => new Picture(about, page).load()));
    if (turn !== this.turn) return; // another page came meanwhile
    this.cards = pictures.map((picture, place) => new Card(this, picture, place));
    for (const card of this.cards) {
      card.check.checked = this.selected.has(card.about.index);
    }
    this.arrange();
    this.draw();
  }

  // in a page without a kernel, filter and sort here; with one, it has done so
  arrange() {
    const { filters, sort } = this.controls;
    let shown = [...this.cards];
    if (!this.host.live) {
      shown = shown.filter(({ about }) => (filters.class < 0 || about.label === filters.class) &&
        (filters.predicted < 0 || about.said === filters.predicted) && (filters.group < 0 || about.group === filters.group) &&
        (filters.verdict === "all" || (about.said === about.label) === (filters.verdict === "right")) &&
        about.sure >= filters.low - 1e-6 && about.sure <= filters.high + 1e-6);
      if (sort.startsWith("masked area")) shown.sort((a, b) => b.picture.area - a.picture.area);
      if (sort.startsWith("confidence")) shown.sort((a, b) => a.about.sure - b.about.sure);
    }
    this.shown = shown;
    this.grid.replaceChildren(...shown.map((card) => card.element));
    this.empty.hidden = shown.length > 0;
    this.grid.hidden = !shown.length;
    this.summarise();
    this.conclude();
  }

  repaint() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  // pixels of the screen across a tile
  across() {
    const seen = this.shown[0]?.canvases[0].clientWidth || this.controls.tile;
    return Math.round(seen * Math.min(window.devicePixelRatio || 1, 3));
  }

  draw() {
    const width = (this.wide ??= this.across());
    for (const card of this.cards) {
      card.picture.measure(this.controls.rule, this.strength, this.given(card.place));
      card.draw(width);
    }
    this.conclude();
  }

  given(place) {
    const masks = this.host.get("masks");
    return masks && masks.key === this.key() ? bytesOf(masks.bits[place]) : null;
  }

  answered() {
    for (const card of this.cards) card.say();
    this.conclude();
    if (this.dialog.open) this.detail();
  }

  // the finding, the status line and the histogram
  conclude() {
    const known = KNOWN.includes(this.controls.rule);
    this.side.hidden = !known;
    if (known) this.histogram?.show(this.controls.rule, this.strength);
    const answers = this.answers();
    const count = this.shown.length;
    const flips = this.shown.filter((card) => card.flipped).length;
    const area = this.shown.reduce((sum, card) => sum + card.picture.area, 0) / Math.max(count, 1);
    const finding = this.host.get("finding");
    const wide = finding && finding.key === `${this.code}|${this.fill}` ? ` ${finding.words}` : "";
    let said = `${percent(area)} is hidden on this page.`;
    if (answers && count) said = `${flips} of ${count} answers on this page change when this is hidden.${wide}`;
    else if (this.host.live && this.options.asks) said += " The model is being asked.";
    else if (this.options.grid) said += ` The model was asked for ${this.options.grid.words}.`;
    if (this.headline.textContent !== said) this.headline.textContent = said;
    clearTimeout(this.telling);
    const asked = !this.host.live && answers ? `, asked at ${this.rule.parameter}=${short(answers.strength)}` : "";
    this.telling = setTimeout(() => {
      this.status.textContent = `${this.code}${asked}: ${percent(area)} hidden on this page. ${this.host.get("summary")?.status ?? ""}`;
    }, 150);
    if (this.dialog.open) this.detail();
  }

  // counts beside the pages and within the filters
  summarise() {
    const summary = this.host.get("summary") ?? {};
    const { host, controls } = this;
    if (host.live) {
      this.counts.textContent = `of ${summary.pages} (${summary.chosen.toLocaleString("en")} of ${summary.total.toLocaleString("en")} images)`;
      this.pageNumber.max = summary.pages;
      this.previous.disabled = controls.page <= 1;
      this.next.disabled = controls.page >= summary.pages;
    } else this.counts.textContent = `${this.shown.length} of ${this.cards.length} images`;
    for (const [name, counts] of Object.entries(summary.counts ?? {})) {
      const field = this.fields[name];
      if (!field) continue;
      for (const option of field.select.options) {
        const count = counts[option.value];
        option.textContent = `${option.textContent.replace(/ \([\d,]+\)$/, "")}${count === undefined ? "" : ` (${count.toLocaleString("en")})`}`;
      }
    }
    this.conclude();
  }

  // the kernel has set something
  told() {
    const controls = this.host.get("controls");
    if (this.ahead) return;
    const moved = JSON.stringify(controls) !== JSON.stringify(this.controls);
    if (!moved) return;
    this.controls = structuredClone(controls);
    this.root.style.setProperty("--mt-tile", `${controls.tile}px`);
    this.follow();
    this.summarise();
    this.repaint();
  }

  chosen(indices) {
    this.selected = new Set(indices);
    for (const card of this.cards) {
      card.check.checked = this.selected.has(card.about.index);
      card.element.classList.toggle("mt-selected", card.check.checked);
    }
    this.picked.textContent = this.selected.size ? `${this.selected.size} selected ` : "shift-click or tick to select ";
    this.save.textContent = this.selected.size ? "save selection as CSV" : "save page as CSV";
  }

  detail() {
    const card = this.opened;
    const { about, picture, place } = card;
    const { classes, groups } = this.options;
    const large = this.large?.picture === picture ? this.large : (this.large = new Shown(picture, 480));
    large.hide();
    const big = COLUMNS.map((name, i) => {
      const canvas = make("canvas", { role: "img", "aria-label": `${name} of ${card.name()}` });
      if (i === 0) large.drawImage(canvas);
      if (i === 1) large.drawMap(canvas);
      if (i === 2) large.drawHidden(canvas);
      if (i === 3) large.drawLeft(canvas, this.fill);
      return make("figure", {}, canvas, make("figcaption", {}, name));
    });
    const answers = this.answers();
    const list = (words, rows) => make("div", {}, make("h4", {}, words), make("ol", {}, ...rows.map(([name, share]) =>
      make("li", {}, make("span", { class: "mt-level", style: `--share:${share}` }), `${name} ${percent(share)}`))));
    const top = answers?.top?.[place];
    const before_ = top ? top.before : [[classes[about.said], about.sure]];
    const after = top ? top.after : answers ? [...(answers.said[place] === about.said ? [] : [[classes[answers.said[place]], NaN]]),
      [classes[about.said], answers.kept[place]]].filter(([, share]) => !Number.isNaN(share)) : [];
    const facts = [["image", about.path ?? `number ${about.index}`], ["class", classes[about.label]],
      ["group", groups[about.group]], ["kind of evidence", about.kind], ["hidden", `${percent(picture.area)} by ${this.code}`]];
    const terms = facts.filter(([, value]) => value !== undefined && value !== null).flatMap(([name, value]) =>
      [make("dt", {}, name), make("dd", {}, value)]);
    const at = this.shown.indexOf(card);
    const go = (by, words) => make("button", { type: "button", class: "mt-small", disabled: !this.shown[at + by], onclick: () => {
      this.opened = this.shown[at + by];
      this.detail();
    } }, words);
    const close = make("button", { type: "button", class: "mt-small", onclick: () => this.dialog.close() }, "close");
    const flipped = card.flipped ? make("p", { class: "mt-flip" }, card.second.textContent) : make("p", {}, card.second.textContent);
    this.dialog.replaceChildren(make("div", { class: "mt-line" }, make("h3", {}, card.name()), go(-1, "\u2039 previous"), go(1, "next \u203a"), close),
      make("div", { class: "mt-large" }, ...big), make("p", {}, card.first.textContent), flipped,
      make("div", { class: "mt-columns" }, list("answers to the image", before_), after.length ? list("answers to what is left", after) : null,
        make("dl", {}, ...terms)));
  }

  close() {
    clearTimeout(this.sending);
    clearTimeout(this.telling);
    for (const card of this.cards) clearTimeout(card.later);
    if (this.frame) cancelAnimationFrame(this.frame);
    this.turn = Infinity;
    this.watch.disconnect();
  }
}

// ---------------------------------------------------------------- one card a kind of evidence

const WORDS = { shortcut: "a shortcut", object: "the object", unsure: "unsure" };
const VERDICT_KEYS = { 1: "shortcut", 2: "object", 3: "unsure" };

export class Review {
  constructor(root, host) {
    Object.assign(this, { root, host, history: [], cards: [] });
    this.options = host.get("options");
    this.judgements = { ...host.get("judgements") };
    this.build();
    host.listen("judgements", () => {
      this.judgements = { ...host.get("judgements") };
      this.tell();
    });
    host.listen("summary", () => this.tell());
    this.ready = this.paint();
    this.tell();
  }

  build() {
    const { options, root } = this;
    this.headline = make("p", { class: "mt-headline" });
    this.status = make("p", { class: "mt-status", role: "status" });
    this.back = make("button", { type: "button", class: "mt-small", onclick: () => this.undo() }, "undo (u)");
    root.classList.add("masktune", "mt");
    root.classList.toggle("mt-own", !themed());
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", options.title);
    keep_keys(root);
    const list = make("ul", { class: "mt-kinds" }, ...options.kinds.map((kind) => this.card(kind)));
    const keys = "Keys on a card: 1 a shortcut, 2 the object, 3 unsure, u takes the last word back.";
    root.replaceChildren(this.headline, make("p", { class: "mt-made" }, keys), list,
      make("div", { class: "mt-foot" }, this.status, this.host.live ? this.back : null), make("p", { class: "mt-made" }, options.made));
  }

  card(kind) {
    const buttons = Object.entries(VERDICT_KEYS).map(([key, verdict]) => make("button", { type: "button", class: "mt-verdict",
      "data-verdict": verdict, disabled: !this.host.live, onclick: () => this.judge(kind.name, verdict) }, `${key} ${WORDS[verdict]}`));
    const pictures = kind.images.map((about) => make("canvas", { role: "img",
      "aria-label": `${about.path ? about.path.split(/[\\/]/).pop() : `image ${about.index}`} of ${kind.label}, its evidence outlined` }));
    const words = kind.sentences.map((sentence) => make("p", {}, sentence));
    const element = make("li", { class: "mt-kind", tabindex: 0, "aria-label": `kind ${kind.name}` },
      make("h4", {}, kind.name), make("div", { class: "mt-sheet" }, ...pictures), make("div", { class: "mt-facts" }, ...words),
      make("div", { class: "mt-line", role: "group", "aria-label": `what ${kind.name} is` }, ...buttons));
    element.addEventListener("keydown", (event) => this.press(event, kind.name));
    this.cards.push({ kind, element, buttons, pictures });
    return element;
  }

  press(event, name) {
    const verdict = VERDICT_KEYS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !(verdict || event.key === "u")) return;
    event.preventDefault();
    event.stopPropagation();
    if (verdict) this.judge(name, verdict);
    else this.undo();
  }

  judge(name, verdict) {
    if (!this.host.live) return;
    this.history.push([name, this.judgements[name]]);
    this.judgements = { ...this.judgements, [name]: verdict };
    this.host.judge(this.judgements);
    this.tell();
    const open = this.cards.filter((card) => !(card.kind.name in this.judgements));
    const at = this.cards.findIndex((card) => card.kind.name === name);
    const next = open.find((card) => this.cards.indexOf(card) > at) ?? open[0];
    next?.element.focus(); // ten judgements take a minute
  }

  undo() {
    const last = this.history.pop();
    if (!last) return;
    const [name, verdict] = last;
    const { [name]: _, ...others } = this.judgements;
    this.judgements = verdict === undefined ? others : { ...others, [name]: verdict };
    this.host.judge(this.judgements);
    this.tell();
    this.cards.find((card) => card.kind.name === name).element.focus();
  }

  tell() {
    for (const { kind, element, buttons } of this.cards) {
      const said = this.judgements[kind.name];
      element.classList.toggle("mt-judged", said !== undefined);
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.verdict === said));
    }
    const count = this.cards.filter((card) => card.kind.name in this.judgements).length;
    const shortcuts = this.cards.filter((card) => this.judgements[card.kind.name] === "shortcut").map((card) => card.kind.name);
    const named = shortcuts.length ? ` Shortcuts: ${shortcuts.join(", ")}.` : "";
    this.headline.textContent = `${count} of ${this.cards.length} kinds of evidence judged.${named}`;
    this.status.textContent = this.host.get("summary")?.status ?? "";
    this.back.disabled = !this.history.length;
  }

  async paint() {
    const { rule, page } = this.options;
    for (const { kind, pictures } of this.cards) {
      for (const [place, about] of kind.images.entries()) {
        const picture = await new Picture(about, page).load();
        picture.measure(rule.name, rule.strength);
        const shown = new Shown(picture, 96 * Math.min(window.devicePixelRatio || 1, 3));
        shown.hide();
        shown.drawHidden(pictures[place]);
      }
    }
  }

  close() {}
}

const themed = () => document.body.dataset.theme || getComputedStyle(document.body).getPropertyValue("--jp-layout-color1");

const panelOf = (root, host) => (host.get("options").kinds ? new Review(root, host) : new Instrument(root, host));

// ---------------------------------------------------------------- its homes

// In a page without a kernel: `data` holds options, page, controls, and answers on a grid of thresholds
export function mount(root, data) {
  const host = { live: false, get: (name) => data[name] ?? null, listen() {}, send() {} };
  return panelOf(root, host);
}

// In a notebook: an anywidget's model holds the same, and a kernel answers
export default {
  render({ model, el }) {
    const listeners = [];
    const host = {
      live: true,
      get: (name) => model.get(name),
      listen(name, call) {
        listeners.push([`change:${name}`, call]);
        model.on(`change:${name}`, call);
      },
      send(controls) {
        model.set("controls", controls);
        model.save_changes();
      },
      judge(judgements) {
        model.set("judgements", judgements);
        model.save_changes();
      },
      pick(selected) {
        model.set("selected", selected);
        model.save_changes();
      },
    };
    const root = document.createElement("div");
    el.append(root);
    const panel = panelOf(root, host);
    return () => {
      for (const [name, call] of listeners) model.off(name, call);
      panel.close();
    };
  },
};
