// The threshold scrubber: a rule, a slider, and a page of images that follows.

const AXIS = 0.4; // of the image; what is more stands in the last bar
const BARS = 40;

class Histogram {
  constructor(sample, grid) {
    const [h, w] = grid;
    const size = [4 * h, 4 * w];
    this.heights = [];
    for (const all of [sample.maps].flat().map(mapOf)) {
      for (let start = 0; start < all.length; start += h * w) {
        const saliency = normalize(all.subarray(start, start + h * w), h, w, ...size);
        const found = new Heights(saliency);
        found.ordered = saliency.slice().sort();
        this.heights.push(found);
      }
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
    const bar = (count, i) =>
      count ? `M${8 + i * wide} 52v${(-36 * count) / most}h${wide - 1}v${(36 * count) / most}z` : "";
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

const worthUpTo = (known) => (known.length ? ` (worth up to ${Math.max(...known).toFixed(2)})` : "");

const COLUMNS = ["image", "map", "what is hidden", "what is left"];

// Where one looks: layer and source of the maps, with what each is worth once it was measured
class Looking {
  constructor(panel) {
    this.panel = panel;
    const { options, controls, host } = panel;
    this.element = make("div", { class: "mt-looking", hidden: !options.layers });
    if (!options.layers) return;
    const same = (names) => names.map((name) => [name, name]);
    this.layer = choose("layer", same(options.layers), controls.layer, (layer) => this.look({ layer }));
    this.source = choose("maps by", same(options.sources), controls.source, (source) => this.look({ source }));
    this.saved = this.places(); // without a kernel: layers and sources whose maps were saved with the page
    const pairs = this.saved.map((place, i) => [`${place.source} at ${place.layer}`, i]);
    this.place = choose("maps", pairs, 0, (i) => this.look(this.saved[i]));
    this.measure = small("measure what each is worth", () => this.ask(), { hidden: !(host.live && options.asks) });
    this.table = scroller("what each place is worth", "mt-worth");
    this.status = make("span", { class: "mt-counts", role: "status" });
    this.details = make(
      "details",
      { class: "mt-filters" },
      make("summary", {}, "where to look, and what to put there"),
    );
    this.details.append(make("div", { class: "mt-line" }, this.measure, this.status), this.table);
    const alone = this.saved.length > 1 ? this.place.label : make("span", {}, this.words());
    const fields = host.live ? [this.layer.label, this.source.label] : [alone];
    this.element.append(make("div", { class: "mt-line" }, ...fields), this.details);
    this.tell();
  }

  words() {
    const { layer, source } = this.panel.controls;
    return source === undefined ? undefined : `${source} at ${layer}`;
  }

  // where the maps of a saved page are from: those it was saved with, then the others
  places() {
    const { controls, host } = this.panel;
    const others = host.live ? [] : (host.get("page").elsewhere ?? []);
    return [controls, ...others].map(({ layer, source }) => ({ layer, source }));
  }

  at({ layer, source }) {
    return this.saved.findIndex((place) => place.layer === layer && place.source === source);
  }

  look({ ...change }) {
    this.panel.set(change);
    if (!this.panel.host.live) return;
    this.status.textContent = "";
    this.panel.status.textContent = `Making maps: ${this.words()}.`;
  }

  // measure, or stop measuring
  ask() {
    this.measure.disabled = true;
    this.asked = (this.asked ?? 0) + 1;
    this.panel.host.wish(this.running ? { stop: this.asked } : { measure: this.asked });
  }

  follow() {
    if (!this.layer) return;
    const { layer, source } = this.panel.controls;
    this.layer.select.value = layer;
    this.source.select.value = source;
    this.place.select.value = this.at({ layer, source });
  }

  // rows of what was measured: how far the answers fall when the evidence is hidden, beyond as much elsewhere
  tell() {
    if (!this.layer) return;
    const { rows = [], status = "", running = false } = this.panel.host.get("worth") ?? this.panel.options.worth ?? {};
    this.running = running;
    this.measure.disabled = false;
    this.measure.textContent = running ? "stop measuring" : "measure what each is worth";
    this.status.textContent = status;
    this.details.hidden = !rows.length && this.measure.hidden;
    const { fill_words: fills } = this.panel.options;
    const interval = (row) => `${row.effect.toFixed(2)} [${row.low.toFixed(2)}, ${row.high.toFixed(2)}]`;
    const { host } = this.panel;
    const take = (row) => {
      const { layer, source, fill } = row;
      if (!host.live && this.at(row) < 0) return "";
      const call = () => this.panel.set({ layer, source, fill });
      return small("look here", call, { "aria-label": `look here: ${source} at ${layer}, ${fills[fill] ?? fill}` });
    };
    const cells = rows.map((row) => [
      make("span", {}, `${row.source} at ${row.layer} `, row.best ? make("b", {}, "\u2605 best") : null),
      fills[row.fill] ?? row.fill,
      unbroken(interval(row)),
      percent(row.area),
      take(row),
    ]);
    const head = ["maps", "hidden pixels become", "worth, with 95 %", "area hidden", ""];
    const said =
      "Worth: how much of the answer's probability is lost when this is hidden, beyond as much hidden elsewhere.";
    this.table.hidden = !rows.length;
    this.table.replaceChildren(...(rows.length ? [tableOf(head, cells, said)] : []));
    for (const field of [this.layer, this.source]) {
      const name = field === this.layer ? "layer" : "source";
      for (const option of field.select.options) {
        const known = rows.filter((row) => row[name] === option.value).map((row) => row.effect);
        option.textContent = option.value + worthUpTo(known);
      }
    }
    this.saved.forEach((place, i) => {
      const known = rows.filter((row) => row.layer === place.layer && row.source === place.source);
      const option = this.place.select.options[i];
      option.textContent = `${place.source} at ${place.layer}${worthUpTo(known.map((row) => row.effect))}`;
    });
  }
}

class Card {
  constructor(panel, picture, place) {
    Object.assign(this, { panel, picture, place, about: picture.about });
    this.canvases = COLUMNS.map(() => make("canvas", {}));
    this.marker = make("i", {});
    const tiles = this.canvases.map((canvas, i) =>
      make("span", { class: "mt-tile" }, canvas, i === 1 ? this.bar() : null),
    );
    this.button = make("button", { class: "mt-open", type: "button", onclick: (event) => this.click(event) }, ...tiles);
    this.button.addEventListener("keydown", (event) => this.press(event));
    this.check = make("input", {
      type: "checkbox",
      onchange: () => panel.select(this.about.index, this.check.checked),
    });
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
    return nameOf(this.about);
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
    if (parts.length === 2 && !parts[1].append && this.second.childNodes.length === 1)
      this.second.firstChild.data = parts.join("");
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

const VERDICTS = [
  ["right or wrong", "all"],
  ["right", "right"],
  ["wrong", "wrong"],
];
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
    host.listen("sample", () => this.sampled());
    host.listen("worth", () => this.looking.tell());
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

  // the page with the maps that are looked at: without a kernel, one of those that were saved with it
  get page() {
    const page = this.host.get("page");
    const { layer, source } = this.controls;
    const same = (place) => place.layer === layer && place.source === source;
    const other = this.host.live ? undefined : (page.elsewhere ?? []).find(same);
    if (!other) return page;
    const images = page.images.map((about, i) => ({ ...about, map: other.maps[i] }));
    return { ...page, images, grid: other.grid, source: other.source, made: other.made, other: true };
  }

  // what the model says of the page as it is now; null where it has not been asked
  answers() {
    const { grid } = this.options;
    if (this.host.live || !grid) {
      const found = this.host.get("answers");
      return found && found.key === this.key() ? found : null;
    }
    if (grid.rule !== this.controls.rule || grid.fill !== this.fill) return null;
    if (grid.layer && (grid.layer !== this.controls.layer || grid.source !== this.controls.source)) return null;
    const off = (answer) => Math.abs(answer.strength - (this.strength ?? answer.strength));
    const best = grid.answers.reduce((found, answer) => (off(answer) < off(found) ? answer : found));
    return off(best) <= grid.within ? best : null;
  }

  key() {
    return `${this.code}|${this.fill}|${this.host.get("page").id}`;
  }

  // what a finding about many images depends on
  findingKey() {
    const { layer, source } = this.controls;
    return [this.code, this.fill, layer ?? "", source ?? ""].join("|");
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
    const top = make(
      "div",
      { class: "mt-top" },
      make(
        "div",
        { class: "mt-controls" },
        make("div", { class: "mt-line" }, this.ruleField.label, this.codeText, this.fillField.label),
        strength,
        (this.looking = new Looking(this)).element,
      ),
      this.side,
    );
    dress(this.root, options.title);
    this.root.style.setProperty("--mt-tile", `${controls.tile}px`);
    this.root.replaceChildren(
      this.headline,
      top,
      this.filters(),
      this.pages(),
      (this.head = make("div", { class: "mt-head" }, ...heads)),
      this.grid,
      this.empty,
      make("div", { class: "mt-foot" }, this.status, make("span", { class: "mt-picks" }, this.picked, this.save)),
      (this.made = make("p", { class: "mt-made" }, options.made)),
      this.dialog,
    );
    this.sampled();
    this.follow();
    this.chosen([...this.selected]);
    this.watch = new ResizeObserver(() => {
      this.wide = undefined; // as many pixels as are seen now
      this.repaint();
    });
    this.watch.observe(this.grid);
  }

  // the maps of the histogram: others, once they are made, where one looks elsewhere
  sampled() {
    const other = this.host.get("sample") ?? {};
    const { page } = this;
    const here = page.other ? { maps: page.images.map(({ map }) => map), grid: page.grid } : this.options.sample;
    const sample = other.maps ? other : other.none ? null : here;
    this.histogram = sample?.maps ? new Histogram(sample, sample.grid) : null;
    this.side.replaceChildren(...(this.histogram ? [this.histogram.picture] : []));
    if (this.shown.length) this.conclude();
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
    if (options.groups.length)
      this.fields.group = choose("group", all("all", options.groups), filters.group, set("group"));
    const bound = (name, words) =>
      make("input", {
        type: "number",
        min: 0,
        max: 1,
        step: 0.01,
        "aria-label": words,
        value: filters[name],
        onchange: (event) => this.narrow({ [name]: Number(event.target.value) }),
      });
    this.bounds = { low: bound("low", "confidence at least"), high: bound("high", "confidence at most") };
    const between = make(
      "span",
      { class: "mt-field" },
      make("span", {}, "confidence"),
      this.bounds.low,
      "to",
      this.bounds.high,
    );
    this.chips = make("span", { class: "mt-chips" });
    this.reset = make(
      "button",
      { type: "button", class: "mt-small", hidden: true, onclick: () => this.narrow({ ...EVERY }) },
      "reset",
    );
    this.sortField = choose(
      "sort by",
      options.sorts.map((sort) => [sort, sort]),
      this.controls.sort,
      (value) => this.set({ sort: value, page: 1 }),
    );
    const fields = Object.values(this.fields).map((field) => field.label);
    return make(
      "details",
      { class: "mt-filters" },
      make("summary", {}, "filters ", this.chips),
      make("div", { class: "mt-line" }, ...fields, between, this.sortField.label, this.reset),
    );
  }

  pages() {
    const turn = (by) => () => this.set({ page: this.controls.page + by });
    this.previous = make("button", { type: "button", class: "mt-small", onclick: turn(-1) }, "\u2039 previous");
    this.next = make("button", { type: "button", class: "mt-small", onclick: turn(1) }, "next \u203a");
    this.pageNumber = make("input", {
      type: "number",
      min: 1,
      "aria-label": "page",
      value: this.controls.page,
      onchange: (event) => this.set({ page: Number(event.target.value) }),
    });
    this.counts = make("span", { class: "mt-counts" });
    const sizes = [...new Set([6, 12, 24, 48, this.controls.page_size])].sort((a, b) => a - b);
    const tiles = [...new Set([48, 72, 96, 128, 224, this.controls.tile])].sort((a, b) => a - b);
    this.sizeField = choose(
      "images a page",
      sizes.map((size) => [String(size), size]),
      this.controls.page_size,
      (value) => this.set({ page_size: Number(value), page: 1 }),
    );
    this.tileField = choose(
      "tile",
      tiles.map((tile) => [`${tile} px`, tile]),
      this.controls.tile,
      (value) => this.set({ tile: Number(value) }),
    );
    const turns = this.host.live ? [this.previous, this.pageNumber, this.next] : [];
    return make(
      "div",
      { class: "mt-line mt-pages" },
      ...turns,
      this.counts,
      this.host.live ? this.sizeField.label : null,
      this.tileField.label,
    );
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
    if (!this.host.live && "layer" in controls) this.elsewhere();
    else if (!this.host.live && !paints) this.arrange();
    clearTimeout(this.sending);
    this.ahead = true; // what the kernel says of the controls is old until it has been told
    this.sending = setTimeout(
      () => {
        this.ahead = false;
        this.host.send(structuredClone(this.controls));
      },
      paints ? 60 : 0,
    );
  }

  // without a kernel: other maps of the same images
  elsewhere() {
    this.made.textContent = this.options.made.replace(this.host.get("page").made, this.page.made);
    this.sampled();
    this.turned();
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
    const rows = (known.length ? known : this.shown).map(({ about, picture }) => [
      about.index,
      about.path ?? "",
      classes[about.label],
      classes[about.said],
      about.sure.toFixed(4),
      groups[about.group] ?? "",
      picture.area.toFixed(4),
    ]);
    const text = [head, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
    const link = make("a", {
      download: "masktune-images.csv",
      href: URL.createObjectURL(new Blob([text], { type: "text/csv" })),
    });
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
        for (const [name, value] of [
          ["min", rule.low],
          ["max", rule.high],
          ["step", rule.step],
        ])
          input[name] = value;
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
    this.looking.follow();
    this.pageNumber.value = controls.page;
    this.writeChips();
  }

  writeChips() {
    const { filters } = this.controls;
    const { classes, groups } = this.options;
    const words = {
      class: (i) => `class ${classes[i]}`,
      predicted: (i) => `says ${classes[i]}`,
      verdict: (v) => v,
      group: (i) => groups[i],
      low: (v) => `sure at least ${v}`,
      high: (v) => `sure at most ${v}`,
    };
    const active = Object.keys(EVERY).filter((name) => filters[name] !== EVERY[name]);
    const chip = (name) =>
      make(
        "button",
        {
          type: "button",
          class: "mt-chip",
          "aria-label": `remove the filter ${words[name](filters[name])}`,
          onclick: (event) => {
            event.preventDefault();
            this.narrow({ [name]: EVERY[name] });
          },
        },
        `${words[name](filters[name])} \u00d7`,
      );
    const said = active.join() + JSON.stringify(filters);
    if (said === this.chipsSaid) return;
    this.chipsSaid = said;
    this.chips.replaceChildren(...active.map(chip));
    this.reset.hidden = !active.length;
  }

  async turned() {
    const { page } = this;
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
      shown = shown.filter(
        ({ about }) =>
          (filters.class < 0 || about.label === filters.class) &&
          (filters.predicted < 0 || about.said === filters.predicted) &&
          (filters.group < 0 || about.group === filters.group) &&
          (filters.verdict === "all" || (about.said === about.label) === (filters.verdict === "right")) &&
          about.sure >= filters.low - 1e-6 &&
          about.sure <= filters.high + 1e-6,
      );
      if (sort.startsWith("masked area")) shown.sort((a, b) => b.picture.area - a.picture.area);
      if (sort.startsWith("confidence")) shown.sort((a, b) => a.about.sure - b.about.sure);
    }
    this.shown = shown;
    this.grid.replaceChildren(...shown.map((card) => card.element));
    this.empty.hidden = shown.length > 0;
    this.head.hidden = !shown.length;
    this.grid.hidden = !shown.length;
    this.summarise();
    this.conclude();
  }

  // at once, so that no frame is waited for, but not twice for one frame
  repaint() {
    this.again = Boolean(this.frame);
    if (this.again) return;
    this.draw();
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (this.again) this.repaint();
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
    const wide = finding && finding.key === this.findingKey() ? ` ${spaced(finding.words)}` : "";
    let said = `${percent(area)} is hidden on this page.`;
    if (answers && count) said = `${flips} of ${count} answers on this page change when this is hidden.${wide}`;
    else if (this.host.live && this.options.asks) said += " The model is being asked.";
    else if (this.options.grid) said += ` The model was asked for ${this.options.grid.words}.`;
    if (!count) said = "Nothing is left to show: take a filter away, or reset them.";
    if (this.headline.textContent !== said) this.headline.textContent = said;
    clearTimeout(this.telling);
    const asked = !this.host.live && answers ? `, asked at ${this.rule.parameter}=${short(answers.strength)}` : "";
    const hides = count ? `${this.code}${asked}: ${percent(area)} hidden on this page.` : "No image on this page.";
    this.telling = setTimeout(() => {
      this.status.textContent = `${hides} ${spaced(this.host.get("summary")?.status)}`;
    }, 150);
    if (this.dialog.open) this.detail();
  }

  // counts beside the pages and within the filters
  summarise() {
    const summary = this.host.get("summary") ?? {};
    const { host, controls } = this;
    if (host.live) {
      const images = `${counted(summary.chosen)} of ${counted(summary.total)} images`;
      this.counts.textContent = `of ${summary.pages} (${images})`;
      this.pageNumber.max = summary.pages;
      this.previous.disabled = controls.page <= 1;
      this.next.disabled = controls.page >= summary.pages;
      if (summary.made) this.made.textContent = summary.made;
    } else this.counts.textContent = `${this.shown.length} of ${this.cards.length} images`;
    for (const [name, counts] of Object.entries(summary.counts ?? {})) {
      const field = this.fields[name];
      if (!field) continue;
      for (const option of field.select.options) {
        const count = counts[option.value];
        const words = option.textContent.replace(/ \([\d,]+\)$/, "");
        option.textContent = count === undefined ? words : `${words} (${counted(count)})`;
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
    const list = (words, rows) =>
      make(
        "div",
        {},
        make("p", { class: "mt-list" }, words),
        make(
          "ol",
          {},
          ...rows.map(([name, share]) =>
            make("li", {}, make("span", { class: "mt-level", style: `--share:${share}` }), `${name} ${percent(share)}`),
          ),
        ),
      );
    const top = answers?.top?.[place];
    const before_ = top ? top.before : [[classes[about.said], about.sure]];
    const after = top
      ? top.after
      : answers
        ? [
            ...(answers.said[place] === about.said ? [] : [[classes[answers.said[place]], NaN]]),
            [classes[about.said], answers.kept[place]],
          ].filter(([, share]) => !Number.isNaN(share))
        : [];
    const facts = [
      ["image", about.path ?? `number ${about.index}`],
      ["class", classes[about.label]],
      ["group", groups[about.group]],
      ["kind of evidence", about.kind],
      ["looks at", this.looking.words()],
      ["hidden", `${percent(picture.area)} by ${this.code}`],
    ];
    const terms = facts
      .filter(([, value]) => value !== undefined && value !== null)
      .flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
    const at = this.shown.indexOf(card);
    const go = (by, words) =>
      make(
        "button",
        {
          type: "button",
          class: "mt-small",
          disabled: !this.shown[at + by],
          onclick: () => {
            this.opened = this.shown[at + by];
            this.detail();
          },
        },
        words,
      );
    const close = make("button", { type: "button", class: "mt-small", onclick: () => this.dialog.close() }, "close");
    const flipped = card.flipped
      ? make("p", { class: "mt-flip" }, card.second.textContent)
      : make("p", {}, card.second.textContent);
    this.dialog.replaceChildren(
      make(
        "div",
        { class: "mt-line" },
        titled(card.name()),
        go(-1, "\u2039 previous"),
        go(1, "next \u203a"),
        close,
      ),
      make("div", { class: "mt-large" }, ...big),
      make("p", {}, card.first.textContent),
      flipped,
      make(
        "div",
        { class: "mt-columns" },
        list("answers to the image", before_),
        after.length ? list("answers to what is left", after) : null,
        make("dl", {}, ...terms),
      ),
    );
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

PANELS.scrubber = Instrument;
