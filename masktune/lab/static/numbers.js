// The instrument: images, their saliency maps and a rule; it upsamples, normalises, thresholds, fills and draws in the
// browser. The files of this folder are one module without a build step: `masktune.instrument.script_text` reads them
// one after another, numbers, pictures, elements, then the panels, then homes. They import nothing.
//
// Here: from a map to a mask. Arithmetic is float32, rounded step by step as masktune.masking does it: masks are the
// same bits.

const round = Math.fround;
const TINY = 2 ** -126;

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
