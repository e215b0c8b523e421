// Pages of images: fields that choose, pages that turn, cards that open. A panel adds what stands above, and its cards.

class Gallery {
  constructor(root, host) {
    Object.assign(this, { root, host, cards: [], shown: [], options: host.get("options") });
    this.controls = structuredClone(host.get("controls"));
    this.build();
    host.listen("page", () => this.turned());
    host.listen("controls", () => this.told());
    host.listen("summary", () => this.summarise());
    this.ready = this.turned();
    this.summarise();
  }

  // what a panel says: elements above the page, what changes with the controls, one image's card; here the plainest
  above() {
    return [];
  }

  follow() {}

  async card(about, page) {
    const picture = new Picture({ ...about, map: "AAA=" }, { ...page, grid: [1, 1] });
    return new PlainCard(this, about, await picture.load());
  }

  build() {
    const { options, root } = this;
    this.headline = make("p", { class: "mt-headline" });
    this.status = make("p", { class: "mt-status", role: "status" });
    this.grid = make("ul", { class: "mt-grid mt-tight" });
    this.empty = make("p", { class: "mt-empty", hidden: true }, "No image matches these filters.");
    this.made = make("p", { class: "mt-made" }, options.made);
    this.dialog = make("dialog", { class: "mt-detail", "aria-label": "One image" });
    this.dialog.addEventListener("close", () => this.opened?.button.focus());
    dress(root, options.title, options.panel);
    root.style.setProperty("--mt-tile", `${this.controls.tile}px`);
    root.style.setProperty("--mt-tiles", options.tiles);
    const rows = [this.headline, ...this.above(), this.chooser(), this.pages(), this.head(), this.grid, this.empty];
    root.replaceChildren(...rows, make("div", { class: "mt-foot" }, this.status), this.made, this.dialog);
    this.watch = new ResizeObserver(() => this.drawAll());
    this.watch.observe(this.grid);
  }

  // a drop-down list a field; without a kernel only those that the page itself can follow
  chooser() {
    this.fields = {};
    const offered = this.options.fields.filter(({ name }) => this.listed(name) && (this.host.live || this.alone(name)));
    for (const { name, words, options } of offered) {
      const typed = (text) => options.map(([, value]) => value).find((value) => String(value) === text);
      this.fields[name] = choose(words, options, this.controls[name], (text) => this.choose(name, typed(text)));
    }
    return make("div", { class: "mt-line mt-pages" }, ...Object.values(this.fields).map((field) => field.label));
  }

  // whether a field is a drop-down list: a panel may offer it in another way
  listed() {
    return true;
  }

  // a row that names the tiles of the cards below it, once a column
  head() {
    const { columns = [] } = this.options;
    const names = () => make("div", { class: "mt-names" }, ...columns.map((name) => make("span", {}, name)));
    const heads = columns.length ? Array.from({ length: 8 }, names) : [];
    heads.slice(1).forEach((each) => each.setAttribute("aria-hidden", "true"));
    return make("div", { class: "mt-head mt-tight", hidden: !columns.length }, ...heads);
  }

  choose(name, value) {
    this.set({ [name]: value, page: 1 });
  }

  // whether the page can filter by a field without a kernel
  alone(name) {
    return name === "class" || name === "group";
  }

  keeps(about) {
    const { controls } = this;
    const same = (name, value) => controls[name] === undefined || controls[name] < 0 || controls[name] === value;
    return same("class", about.label) && same("group", about.group);
  }

  pages() {
    const turn = (by) => () => this.set({ page: this.controls.page + by });
    this.previous = small("\u2039 previous", turn(-1));
    this.next = small("next \u203a", turn(1));
    const given = { type: "number", min: 1, "aria-label": "page", value: this.controls.page };
    this.pageNumber = make("input", { ...given, onchange: (event) => this.set({ page: Number(event.target.value) }) });
    this.counts = make("span", { class: "mt-counts" });
    const same = (values, words) => [...new Set(values)].sort((a, b) => a - b).map((value) => [words(value), value]);
    const sizes = same([6, 12, 24, 48, this.controls.page_size], String);
    const tiles = same([48, 72, 96, 128, 224, this.controls.tile], (tile) => `${tile} px`);
    this.sizeField = choose("images a page", sizes, this.controls.page_size, (value) =>
      this.set({ page_size: Number(value), page: 1 }),
    );
    this.tileField = choose("tile", tiles, this.controls.tile, (value) => this.set({ tile: Number(value) }));
    const live = this.host.live ? [this.previous, this.pageNumber, this.next] : [];
    const size = this.host.live ? this.sizeField.label : null;
    return make("div", { class: "mt-line mt-pages" }, ...live, this.counts, size, this.tileField.label);
  }

  set(controls) {
    Object.assign(this.controls, controls);
    this.root.style.setProperty("--mt-tile", `${this.controls.tile}px`);
    this.fill();
    this.follow();
    if ("tile" in controls) this.drawAll();
    if (!this.host.live) this.arrange();
    clearTimeout(this.sending);
    this.ahead = true; // what the kernel says of the controls is old until it has been told
    this.sending = setTimeout(() => {
      this.ahead = false;
      this.host.send(structuredClone(this.controls));
    }, 60);
  }

  // the controls as they are set
  fill() {
    const { controls } = this;
    for (const [name, field] of Object.entries(this.fields)) field.select.value = controls[name];
    this.sizeField.select.value = controls.page_size;
    this.tileField.select.value = controls.tile;
    this.pageNumber.value = controls.page;
  }

  told() {
    const controls = this.host.get("controls");
    if (this.ahead || JSON.stringify(controls) === JSON.stringify(this.controls)) return;
    this.controls = structuredClone(controls);
    this.root.style.setProperty("--mt-tile", `${controls.tile}px`);
    this.fill();
    this.follow();
    this.drawAll();
  }

  async turned() {
    const page = this.host.get("page");
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const cards = await Promise.all((page.images ?? []).map((about) => this.card(about, page)));
    if (turn !== this.turn) return; // another page came meanwhile
    this.cards = cards;
    this.arrange();
    this.drawAll();
    this.follow();
  }

  arrange() {
    this.shown = this.host.live ? this.cards : this.cards.filter(({ about }) => this.keeps(about));
    this.grid.replaceChildren(...this.shown.map((card) => card.element));
    this.empty.hidden = this.shown.length > 0;
    this.grid.hidden = !this.shown.length;
    this.summarise();
  }

  drawAll() {
    const seen = this.shown[0]?.canvases[0].clientWidth || this.controls.tile;
    const width = Math.round(seen * Math.min(window.devicePixelRatio || 1, 3));
    if (!width || !this.shown.length) return;
    for (const card of this.shown) card.draw(width);
  }

  summarise() {
    const summary = this.host.get("summary") ?? {};
    const { host, controls } = this;
    if (host.live) {
      const images = `${counted(summary.chosen ?? 0)} of ${counted(summary.total ?? 0)} images`;
      this.counts.textContent = `of ${counted(summary.pages ?? 1)} (${images})`;
      this.pageNumber.max = summary.pages ?? 1;
      this.previous.disabled = controls.page <= 1;
      this.next.disabled = controls.page >= (summary.pages ?? 1);
    } else this.counts.textContent = `${this.shown.length} of ${this.cards.length} images`;
    this.status.textContent = spaced(summary.status);
  }

  open(card) {
    this.opened = card;
    this.detail();
    this.dialog.showModal();
  }

  detail() {
    const at = this.shown.indexOf(this.opened);
    const go = (by) => () => {
      this.opened = this.shown[at + by];
      this.detail();
    };
    const step = (by, words) => small(words, go(by), { disabled: !this.shown[at + by] });
    const close = small("close", () => this.dialog.close());
    const heading = titled(nameOf(this.opened.about));
    const line = make("div", { class: "mt-line" }, heading, step(-1, "\u2039 previous"), step(1, "next \u203a"), close);
    this.dialog.replaceChildren(line, ...this.opened.large());
  }

  close() {
    clearTimeout(this.sending);
    this.turn = Infinity;
    this.watch.disconnect();
  }
}

// a card's tiles as one button, with words under it
class GalleryCard {
  constructor(panel, about, tiles) {
    Object.assign(this, { panel, about });
    this.canvases = tiles.map(() => make("canvas", {}));
    const spans = this.canvases.map((canvas, i) => make("span", { class: "mt-tile" }, canvas, tiles[i]));
    this.button = make("button", { class: "mt-open", type: "button", onclick: () => panel.open(this) }, ...spans);
    this.button.addEventListener("keydown", (event) => this.press(event));
    this.words = make("div", { class: "mt-says" });
    this.element = make("li", { class: "mt-card" }, this.button, this.words);
  }

  say(...lines) {
    this.words.replaceChildren(...lines.map((line) => make("p", {}, ...[line].flat())));
    this.button.setAttribute("aria-label", `${nameOf(this.about)}: ${this.words.textContent}. Open`);
  }

  press(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const { shown } = this.panel;
    const other = step && shown[shown.indexOf(this) + step];
    if (!other) return;
    other.button.focus();
    event.preventDefault();
    event.stopPropagation();
  }
}

// an image and its class
class PlainCard extends GalleryCard {
  constructor(panel, about, picture) {
    super(panel, about, [null]);
    this.picture = picture;
    this.say(`is ${panel.options.classes[about.label]}`);
  }

  draw(width) {
    if (this.width === width) return;
    this.width = width;
    new Shown(this.picture, width).drawImage(this.canvases[0]);
  }

  large() {
    const { about, panel } = this;
    const { classes, groups } = panel.options;
    const canvas = make("canvas", {});
    new Shown(this.picture, 480).drawImage(canvas);
    const facts = [
      ["image", about.path ?? `number ${about.index}`],
      ["class", classes[about.label]],
      ["group", groups[about.group]],
    ];
    return [make("div", { class: "mt-large mt-single" }, figureOf(canvas, "image")), termsOf(facts)];
  }
}

PANELS.gallery = Gallery;

// right or wrong, by colour and by sign
const verdictOf = (right) =>
  make("b", { class: right ? "mt-right" : "mt-wrong" }, right ? "\u2713 right" : "\u2717 wrong");

// 95 % interval of a share of counted things (Wilson, 1927)
function wilson(count, total) {
  if (!total) return [NaN, NaN];
  const z = 1.959964;
  const share = count / total;
  const middle = share + (z * z) / (2 * total);
  const wide = z * Math.sqrt((share * (1 - share)) / total + (z * z) / (4 * total * total));
  const by = 1 + (z * z) / total;
  return [Math.max((middle - wide) / by, 0), Math.min((middle + wide) / by, 1)];
}

const whole = (share) => (Number.isNaN(share) ? "\u2013" : `${Math.round(100 * share)} %`);
const between = ([low, high]) => `[${Math.round(100 * low)}, ${Math.round(100 * high)}]`;

// what is known of an image, as a list of terms
function termsOf(facts) {
  const known = facts.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return make("dl", {}, ...known.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function figureOf(canvas, words) {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words);
  return make("figure", {}, canvas, make("figcaption", {}, words));
}
