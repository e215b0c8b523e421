// What each class is recognised by: its mean map, and the patches that spoke for it most, with what lies around them.

const AROUND = 0.6; // of a patch's side, seen on each side of it

// the hottest cell's surroundings, as masktune.lab.evidence cuts them out: left, top and side, in the image's pixels
function patchOf(map, [h, w], [H, W], share) {
  const hottest = map.indexOf(map.reduce((most, value) => Math.max(most, value), -Infinity));
  const side = Math.max(roundEven(share * Math.min(H, W)), 2);
  const place = (cell, count, length) =>
    Math.min(Math.max(roundEven(((cell + 0.5) * length) / count - side / 2), 0), length - side);
  return { left: place(hottest % w, w, W), top: place(Math.floor(hottest / w), h, H), side };
}

// Python's round: halves go to the even number
function roundEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

class Patch {
  constructor(panel, about, picture) {
    Object.assign(this, { panel, about, picture });
    this.canvas = make("canvas", {});
    this.button = make("button", { class: "mt-open", type: "button", onclick: () => panel.open(this) }, this.canvas);
    this.words = make("span", { class: "mt-then" }, about.kind ?? "");
    this.element = make("li", { class: "mt-patch" }, this.button, about.kind ? this.words : null);
    const kind = about.kind ? `, ${about.kind}` : "";
    this.button.setAttribute("aria-label", `${nameOf(about)}${kind}: the strongest patch, outlined. Open`);
    this.map = mapOf(about.map);
  }

  draw(width) {
    const { picture, panel, canvas, map } = this;
    const { W, H, h, w, image } = picture;
    const { left, top, side } = patchOf(map, [h, w], [H, W], panel.controls.share);
    const wide = Math.min(side * (1 + 2 * AROUND), Math.min(W, H));
    const clamp = (start, length) => Math.min(Math.max(start + side / 2 - wide / 2, 0), length - wide);
    const [x, y] = [clamp(left, W), clamp(top, H)];
    canvas.width = canvas.height = width;
    const context = canvas.getContext("2d");
    const by = image.naturalWidth / W; // the picture may be smaller than the image
    context.imageSmoothingEnabled = W > 64;
    const paint = () => context.drawImage(image, x * by, y * by, wide * by, wide * by, 0, 0, width, width);
    const [a, b, c] = [left - x, top - y, side].map((value) => (value * width) / wide);
    paint();
    context.fillStyle = "rgb(235 235 235 / .5)";
    context.fillRect(0, 0, width, width);
    context.save();
    context.beginPath();
    context.rect(a, b, c, c);
    context.clip();
    paint();
    context.restore();
    context.strokeStyle = "#E69F00";
    context.lineWidth = Math.max(width / 36, 2);
    context.strokeRect(a, b, c, c);
  }

  large() {
    const { about, panel, picture } = this;
    const canvases = [make("canvas", {}), make("canvas", {})];
    const shown = new Shown(picture, 480);
    shown.drawImage(canvases[0]);
    shown.drawOver(canvases[1]);
    const figures = [figureOf(canvases[0], "image"), figureOf(canvases[1], "where the evidence lies")];
    const { classes } = panel.options;
    const terms = termsOf([
      ["image", about.path ?? `number ${about.index}`],
      ["class", classes[about.label]],
      ["seen as", `${classes[about.said]} ${percent(about.sure)}`],
      ["kind of evidence", about.kind],
    ]);
    return [make("div", { class: "mt-large" }, ...figures), terms];
  }
}

class ClassEvidence {
  constructor(root, host) {
    Object.assign(this, { root, host, patches: [], options: host.get("options") });
    this.controls = structuredClone(host.get("controls"));
    this.build();
    host.listen("page", () => this.turned());
    host.listen("controls", () => this.told());
    host.listen("finding", () => this.tell());
    this.ready = this.turned();
  }

  build() {
    const { options, controls, root } = this;
    dress(root, options.title, options.panel);
    root.style.setProperty("--mt-tile", `${controls.tile}px`);
    this.headline = make("p", { class: "mt-headline" });
    this.status = make("p", { class: "mt-status", role: "status" });
    const { low, high, step, most } = options;
    this.share = make("input", { type: "range", min: low, max: high, step, "aria-label": "side of a patch" });
    this.share.addEventListener("input", () => this.set({ share: Number(this.share.value) }));
    this.count = make("input", { type: "number", min: 1, max: most, step: 1, "aria-label": "patches a class" });
    this.count.addEventListener("change", () => this.set({ count: Number(this.count.value) }));
    const counts = this.host.live
      ? make("label", { class: "mt-field" }, make("span", {}, "patches a class"), this.count)
      : "";
    const line = make("div", { class: "mt-strength" }, make("span", {}, "side of a patch"), this.share);
    this.list = make("div", { class: "mt-kinds" });
    this.dialog = make("dialog", { class: "mt-detail", "aria-label": "One image" });
    this.dialog.addEventListener("close", () => this.opened?.button.focus());
    const foot = make("div", { class: "mt-foot" }, this.status);
    this.made = make("p", { class: "mt-made" }, options.made);
    root.replaceChildren(
      this.headline,
      make("div", { class: "mt-line" }, line, counts),
      this.list,
      foot,
      this.made,
      this.dialog,
    );
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.list);
    this.tell();
  }

  set(controls) {
    const count = Math.min(Math.max(Math.round(controls.count ?? this.controls.count), 1), this.options.most);
    Object.assign(this.controls, controls, { count });
    this.draw();
    this.tell();
    clearTimeout(this.sending);
    this.ahead = true;
    this.sending = setTimeout(() => {
      this.ahead = false;
      this.host.send(structuredClone(this.controls));
    }, 100);
  }

  told() {
    if (this.ahead) return;
    this.controls = structuredClone(this.host.get("controls"));
    this.draw();
    this.tell();
  }

  tell() {
    this.share.value = this.controls.share;
    this.count.value = this.controls.count;
    const finding = this.host.get("finding")?.words;
    this.headline.textContent = spaced(finding ? `${finding} ${this.options.headline}` : this.options.headline);
    const side = `${percent(this.controls.share, 0)} of the image's side`;
    this.share.setAttribute("aria-valuetext", side);
    this.status.textContent = `A patch is ${side}; it is outlined, with what lies around it.`;
  }

  async turned() {
    const page = this.host.get("page");
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const load = (about) => new Picture(about, page).load();
    const pictures = await Promise.all(page.classes.map((each) => Promise.all(each.images.map(load))));
    if (turn !== this.turn) return;
    this.patches = [];
    this.list.replaceChildren(...page.classes.map((each, i) => this.section(each, pictures[i], page.grid)));
    this.draw();
  }

  // a class or a kind of evidence: its mean map where it has one, words, patches
  section(each, pictures, grid) {
    const patches = each.images.map((about, i) => new Patch(this, about, pictures[i]));
    this.patches.push(...patches);
    const parts = [];
    if (each.mean) {
      const canvas = make("canvas", {});
      heatOf(canvas, mapOf(each.mean), grid, 144);
      parts.push(figureOf(canvas, `mean map, hottest in ${each.place}`));
    }
    parts.push(make("ul", { class: "mt-patches" }, ...patches.map((patch) => patch.element)));
    const words = each.words.map((sentence) => make("p", {}, spaced(sentence)));
    const inside = make("div", { class: "mt-recognised" }, ...parts);
    return make(
      "section",
      { class: `mt-kind${each.kind ? " mt-under" : ""}` },
      titled(each.name),
      ...words,
      inside,
    );
  }

  draw() {
    const width = Math.round(this.controls.tile * Math.min(window.devicePixelRatio || 1, 3));
    for (const patch of this.patches) patch.draw(width);
  }

  open(patch) {
    this.opened = patch;
    const close = small("close", () => this.dialog.close());
    const line = make("div", { class: "mt-line" }, titled(nameOf(patch.about)), close);
    this.dialog.replaceChildren(line, ...patch.large());
    this.dialog.showModal();
  }

  close() {
    clearTimeout(this.sending);
    this.turn = Infinity;
    this.watch.disconnect();
  }
}

PANELS.evidence = ClassEvidence;
