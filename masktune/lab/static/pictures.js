// An image with its map, drawn on canvases: as it is, its heat, what is hidden, what is left.

// black, violet, orange, yellow: readable in both themes and by colour-blind people
const HEAT = [
  [0, 0, 4],
  [66, 10, 104],
  [147, 38, 103],
  [221, 81, 58],
  [252, 165, 10],
  [252, 255, 164],
];
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
  for (const [shift, factor] of [
    [16, 0x7feb352d],
    [15, 0x045d9f3b],
    [16, 0x045d9f3b],
  ]) {
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
    if (!this.given && !this.protect) {
      const ordered = (this.heights.ordered ??= this.saliency.slice().sort());
      return 1 - upTo(ordered, this.height) / ordered.length;
    }
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
    put(
      canvas,
      this.width,
      this.height,
      Uint32Array.from(this.saliency, (value) => HEATS[Math.round(255 * value)]),
    );
  }

  // the image, darkened, under its heat
  drawOver(canvas) {
    const out = buffer(canvas, this.width, this.height);
    for (let i = 0; i < out.length; i++) {
      const pixel = this.pixels[i];
      const heat = HEATS[Math.round(255 * this.saliency[i])];
      const grey = 0.3 * (pixel & 255) + 0.59 * ((pixel >> 8) & 255) + 0.11 * ((pixel >> 16) & 255);
      const share = 0.25 + 0.55 * this.saliency[i];
      const mix = (shift) => byte((1 - share) * grey + share * ((heat >> shift) & 255));
      out[i] = packed(mix(0), mix(8), mix(16));
    }
    show(canvas);
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
    else if (fill === "blur") {
      const { cells } = this.coarse;
      const colors = this.blurred();
      for (let i = 0; i < mask.length; i++) out[i] = mask[i] ? colors[cells[i]] : pixels[i];
    } else if (fill === "mean") {
      const flat = packed(...this.means().mean.map(byte));
      for (let i = 0; i < mask.length; i++) out[i] = mask[i] ? flat : pixels[i];
    } else {
      const paint = this.noisy();
      for (let i = 0; i < mask.length; i++) out[i] = mask[i] ? paint(i) : pixels[i];
    }
    show(canvas);
  }

  // the image's sums of red, green, blue and one, in cells of a coarse grid; they do not depend on the threshold
  get coarse() {
    this.cached ??= new Coarse(this.width, this.height, this.pixels);
    return this.cached;
  }

  // mean colour of the visible pixels, and how many there are
  means() {
    return meanOf(this.coarse.visible(this.mask).sums);
  }

  noisy() {
    const { pixels, mask, places, picture } = this;
    const { mean, count } = this.means();
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

  // the visible pixels spread over the hidden ones, as the package does it, but cell by cell: a frame is short
  blurred() {
    const { coarse } = this;
    const { sums, touched } = coarse.visible(this.mask);
    const flat = packed(...meanOf(sums).mean.map(byte));
    return coarse.spread(sums, touched, (1e-3 * this.pixels.length) / coarse.count, flat);
  }
}

// mean colour of sums of red, green, blue and one, and how many pixels that are
function meanOf(sums) {
  const whole = [0, 0, 0, 0];
  for (let i = 0; i < sums.length; i++) whole[i & 3] += sums[i];
  const count = whole[3];
  return { mean: whole.slice(0, 3).map((sum) => sum / Math.max(count, 1)), count };
}

// Sums of an image's pixels in at most 16 x 16 cells, made once; a mask's pixels are then taken away
class Coarse {
  constructor(width, height, pixels) {
    this.rows = Math.min(height, 16);
    this.columns = Math.min(width, 16);
    this.count = this.rows * this.columns;
    this.pixels = pixels;
    this.cells = new Uint16Array(pixels.length);
    for (let y = 0, i = 0; y < height; y++) {
      const row = Math.floor((y * this.rows) / height) * this.columns;
      for (let x = 0; x < width; x++, i++) this.cells[i] = row + Math.floor((x * this.columns) / width);
    }
    this.sums = new Float64Array(4 * this.count);
    for (let i = 0; i < pixels.length; i++) {
      const at = 4 * this.cells[i];
      this.sums[at] += pixels[i] & 255;
      this.sums[at + 1] += (pixels[i] >> 8) & 255;
      this.sums[at + 2] += (pixels[i] >> 16) & 255;
      this.sums[at + 3] += 1;
    }
    this.kernels = [this.columns, this.rows].map((length) =>
      Float64Array.from({ length }, (_, i) => Math.exp(-0.5 * (i / (length / 8)) ** 2)),
    );
  }

  // red, green, blue and number of the pixels that a mask leaves, cell by cell; and which cells it touches
  visible(mask) {
    const { cells, pixels } = this;
    const sums = this.sums.slice();
    const touched = new Uint8Array(this.count);
    for (let i = 0; i < mask.length; i++) {
      if (!mask[i]) continue;
      const pixel = pixels[i];
      const at = 4 * cells[i];
      touched[cells[i]] = 1;
      sums[at] -= pixel & 255;
      sums[at + 1] -= (pixel >> 8) & 255;
      sums[at + 2] -= (pixel >> 16) & 255;
      sums[at + 3] -= 1;
    }
    return { sums, touched };
  }

  // a Gaussian of an eighth of the side over the cells, along rows, then along columns: colours of the touched ones
  spread(sums, touched, least, flat) {
    const { rows, columns, kernels, count } = this;
    const colors = new Uint32Array(count);
    const across = new Float64Array(4 * count);
    const some = new Uint8Array(columns);
    for (let cell = 0; cell < count; cell++) if (touched[cell]) some[cell % columns] = 1;
    for (let cell = 0; cell < count; cell++) {
      const x = cell % columns;
      if (some[x]) gather(sums, 4 * (cell - x), 4, columns, kernels[0], x, across, 4 * cell);
    }
    const found = new Float64Array(4);
    for (let cell = 0; cell < count; cell++) {
      if (!touched[cell]) continue;
      const x = cell % columns;
      found.fill(0);
      gather(across, 4 * x, 4 * columns, rows, kernels[1], (cell - x) / columns, found, 0);
      const weight = found[3];
      colors[cell] =
        weight < least ? flat : packed(byte(found[0] / weight), byte(found[1] / weight), byte(found[2] / weight));
    }
    return colors;
  }
}

// the weighted sum of a line of cells, four numbers each, seen from place `i` of it
function gather(values, start, step, length, kernel, i, found, to) {
  for (let j = 0, from = start; j < length; j++, from += step) {
    const weight = kernel[i < j ? j - i : i - j];
    found[to] += weight * values[from];
    found[to + 1] += weight * values[from + 1];
    found[to + 2] += weight * values[from + 2];
    found[to + 3] += weight * values[from + 3];
  }
}

const bitOf = (bits, i) => (bits[i >> 3] >> (7 - (i & 7))) & 1;

// a tint for what is protected
const spared = (p) =>
  packed(byte(0.6 * (p & 255)), byte(0.6 * ((p >> 8) & 255) + 62), byte(0.6 * ((p >> 16) & 255) + 46));

const fade = (value) => Math.round(235 - 0.45 * (235 - value));

function line(out, wide, x, y, width, height) {
  const end = Math.min(x + width, wide);
  for (let v = 0; v < height; v++) {
    const row = (y + v) * wide;
    for (let i = row + x; i < row + end; i++) out[i] = OUTLINE;
  }
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

// a map alone, `side` pixels across
function heatOf(canvas, map, [h, w], side) {
  const height = Math.max(Math.round((side * h) / w), 8);
  put(
    canvas,
    side,
    height,
    Uint32Array.from(normalize(map, h, w, height, side), (value) => HEATS[Math.round(255 * value)]),
  );
}
