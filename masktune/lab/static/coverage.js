// When not to answer: a point on the risk-coverage curve is dragged, and table, headline and images follow.

const CURVES = ["var(--mt-good)", "var(--mt-warn)", "#9c74b8", "#5c8a00", "#a05d00"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 2"];
const PLOT = { left: 58, right: 26, top: 12, bottom: 44, width: 520, height: 280 };

class CoverageCard extends PlainCard {
  // where the image stands among all, and so whether it is answered
  follow() {
    const { panel, about } = this;
    const { classes } = panel.options;
    const name = panel.controls.classifier;
    const [answer, rank] = about.ranks[name];
    this.answered = rank <= panel.count;
    const right = answer === about.label;
    const fate = this.answered ? verdictOf(right) : make("b", { class: "mt-right" }, "\u2013 left open");
    this.element.classList.toggle("mt-answered", this.answered);
    this.element.classList.toggle("mt-flipped", this.answered && !right);
    const place = `${counted(rank)} of ${counted(panel.total)} by sureness`;
    this.say([`is ${classes[about.label]}, says ${classes[answer]} `, fate], place);
  }

  large() {
    const { about, panel } = this;
    const { classes, groups } = panel.options;
    const canvas = make("canvas", {});
    new Shown(this.picture, 480).drawImage(canvas);
    const says = ([answer, rank]) => {
      const verdict = answer === about.label ? "right" : "wrong";
      return `${classes[answer]}, ${verdict}; ${counted(rank)} of ${counted(panel.total)} by sureness`;
    };
    const terms = termsOf([
      ["image", about.path ?? `number ${about.index}`],
      ["class", classes[about.label]],
      ["group", groups[about.group]],
      ...Object.entries(about.ranks).map(([name, found]) => [name, says(found)]),
      ["decision", this.answered ? "answered" : "left open"],
    ]);
    return [make("div", { class: "mt-large mt-single" }, figureOf(canvas, "image")), terms];
  }
}

class Coverage extends Gallery {
  constructor(root, host) {
    super(root, host);
    host.listen("options", () => this.stepped());
  }

  // a coverage was set from code that no step was at
  stepped() {
    this.options = this.host.get("options");
    this.read = undefined;
    this.slider.max = this.options.steps.length - 1;
    this.told();
  }

  // of the classifier that is looked at: right or wrong, and which row, image by image from the surest on
  get ranked() {
    const { classifier } = this.controls;
    const { ranked } = this.options;
    this.read ??= {};
    this.read[classifier] ??= {
      correct: bytesOf(ranked[classifier].correct),
      row: new Uint16Array(bytesOf(ranked[classifier].row).buffer),
      answered: ranked[classifier].answered,
    };
    return this.read[classifier];
  }

  get total() {
    return this.options.total;
  }

  get place() {
    const { steps } = this.options;
    return steps.findIndex((step) => Math.abs(step - this.controls.coverage) < 1e-9);
  }

  // how many images are answered: the surest so many
  get count() {
    return this.ranked.answered[Math.max(this.place, 0)];
  }

  above() {
    const { steps } = this.options;
    const last = steps.length - 1;
    this.slider = make("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "coverage" });
    this.slider.addEventListener("input", () => this.step(Number(this.slider.value)));
    this.number = make("input", { type: "number", min: 1, max: 100, step: "any", "aria-label": "coverage, per cent" });
    this.number.addEventListener("change", () => this.nearest(Number(this.number.value) / 100));
    const words = `share to be answered${this.options.on_val ? ", of the validation images" : ""}`;
    const row = make("div", { class: "mt-strength" }, make("span", {}, words), this.slider, this.number, "%");
    this.table = scroller("answered and wrong, by group");
    this.plot = new CoveragePlot(this);
    return [row, make("div", { class: "mt-top mt-start" }, this.plot.element, this.table)];
  }

  alone(name) {
    return super.alone(name) || ["classifier", "decision", "verdict"].includes(name);
  }

  keeps(about) {
    const { controls } = this;
    const [answer, rank] = about.ranks[controls.classifier];
    const is = (wanted, yes, flag) => wanted === "all" || flag === (wanted === yes);
    const decided = is(controls.decision, "answered", rank <= this.count);
    return super.keeps(about) && decided && is(controls.verdict, "right", answer === about.label);
  }

  // go to a step of the slider
  step(place) {
    const { steps } = this.options;
    this.set({ coverage: steps[Math.min(Math.max(place, 0), steps.length - 1)], page: 1 });
  }

  nearest(coverage) {
    if (Number.isNaN(coverage)) return this.follow();
    const { steps } = this.options;
    const off = (i) => Math.abs(steps[i] - coverage);
    this.step(steps.reduce((best, _, i) => (off(i) < off(best) ? i : best), 0));
  }

  // go where about this share of the images here is answered: the point on the curve is there
  answering(share) {
    const { answered } = this.ranked;
    const off = (i) => Math.abs(answered[i] / this.total - share);
    this.step(answered.reduce((best, _, i) => (off(i) < off(best) ? i : best), 0));
  }

  // images, answered, wrong of the answered, wrong of all; row 0 is all of them
  tally() {
    const { correct, row } = this.ranked;
    const found = this.options.names.map(() => [0, 0, 0, 0]);
    for (let i = 0; i < this.total; i++) {
      const wrong = 1 - bitOf(correct, i);
      const answered = i < this.count ? 1 : 0;
      for (const at of row[i] < found.length ? [0, row[i]] : [0]) {
        found[at][0]++;
        found[at][1] += answered;
        found[at][2] += answered * wrong;
        found[at][3] += wrong;
      }
    }
    return found;
  }

  follow() {
    const rows = this.tally();
    const [images, answered, wrong, all] = rows[0];
    this.slider.value = Math.max(this.place, 0);
    const said = `${percent(answered / images)} answered, ${whole(wrong / answered)} of these wrong`;
    this.slider.setAttribute("aria-valuetext", `${percent(this.controls.coverage)} asked, ${said}`);
    if (document.activeElement !== this.number) this.number.value = short(100 * this.controls.coverage);
    const risk = answered
      ? `${percent(wrong / answered)} ${between(wilson(wrong, answered))} of these are wrong`
      : "none";
    const left = images - answered;
    this.headline.textContent =
      `${counted(answered)} of ${counted(images)} images are answered (${whole(answered / images)}): ${risk}, ` +
      `against ${percent(all / images)} if all were; ${counted(left)} ${left === 1 ? "is" : "are"} left open.`;
    const cells = rows.map(([n, given, bad, every], i) => [
      this.options.names[i],
      counted(n),
      n ? percent(given / n) : "\u2013",
      given ? unbroken(`${percent(bad / given)} ${between(wilson(bad, given))}`) : "\u2013",
      n ? percent(every / n) : "\u2013",
    ]);
    const head = ["", "images", "answered", "wrong of these, with 95 %", "wrong if all were answered"];
    this.table.replaceChildren(tableOf(head, cells));
    this.plot.follow(answered / images, answered ? wrong / answered : NaN);
    for (const card of this.cards) card.follow();
  }

  async card(about, page) {
    const picture = new Picture({ ...about, map: "AAA=" }, { ...page, grid: [1, 1] });
    return new CoverageCard(this, about, await picture.load());
  }
}

// Risk against coverage, a line a classifier; the point on the line is a slider of its own
class CoveragePlot {
  constructor(panel) {
    this.panel = panel;
    const { width, height } = PLOT;
    this.picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "mt-plot" });
    const { curves } = panel.options;
    const seen = Object.values(curves).flatMap((curve) =>
      curve.filter(([share]) => share > 0.02).map(([, risk]) => risk),
    );
    const top = Math.max(...seen, 0.01);
    this.step = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2].find((step) => top <= 5 * step) ?? 0.2;
    this.top = this.step * Math.ceil(top / this.step - 1e-9);
    this.axes();
    this.lines = Object.entries(curves).map(([name, curve], i) => this.line(name, curve, i));
    this.point = svg("circle", {
      r: 8,
      class: "mt-point",
      tabindex: 0,
      role: "slider",
      "aria-label": "point on the curve",
    });
    this.point.setAttribute("aria-orientation", "horizontal");
    this.rule = svg("path", { class: "mt-rule" });
    this.picture.append(this.rule, this.point);
    this.point.addEventListener("keydown", (event) => this.press(event));
    this.picture.addEventListener("pointerdown", (event) => this.grab(event));
    this.element = make("div", { class: "mt-plotted" }, this.picture, this.legend());
  }

  x(share) {
    return PLOT.left + share * (PLOT.width - PLOT.left - PLOT.right);
  }

  y(risk) {
    return PLOT.height - PLOT.bottom - Math.min(risk / this.top, 1) * (PLOT.height - PLOT.top - PLOT.bottom);
  }

  text(words, x, y, given = {}) {
    const element = svg("text", { x, y, ...given });
    element.textContent = words;
    this.picture.append(element);
  }

  axes() {
    const { width, height, top, bottom, left, right } = PLOT;
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      this.picture.append(svg("path", { class: "mt-axis", d: `M${this.x(share)} ${top}V${height - bottom}` }));
      this.text(`${100 * share} %`, this.x(share), height - bottom + 16, { "text-anchor": "middle" });
    }
    for (let risk = 0; risk <= this.top + 1e-9; risk += this.step) {
      this.picture.append(svg("path", { class: "mt-axis", d: `M${left} ${this.y(risk)}H${width - right}` }));
      this.text(`${Number((100 * risk).toPrecision(3))} %`, left - 6, this.y(risk) + 4, { "text-anchor": "end" });
    }
    this.text("coverage: share of the images that is answered", (left + width - right) / 2, height - 8, {
      "text-anchor": "middle",
    });
    const middle = (top + height - bottom) / 2;
    this.text("risk: share wrong of these", 14, middle, {
      "text-anchor": "middle",
      transform: `rotate(-90 14 ${middle})`,
    });
  }

  line(name, curve, i) {
    const color = CURVES[i % CURVES.length];
    const steps = curve.map(([share, risk], k) => `${k ? "H" : "M"}${this.x(share)}${k ? "V" : " "}${this.y(risk)}`);
    const path = svg("path", { d: steps.join(""), class: "mt-curve", style: `stroke: ${color}` });
    path.setAttribute("stroke-dasharray", DASHES[i % DASHES.length]);
    this.picture.append(path);
    return { name, path, color, dash: DASHES[i % DASHES.length] };
  }

  legend() {
    const entry = ({ name, color, dash }) => {
      const sample = svg("svg", { viewBox: "0 0 28 8", class: "mt-sample", "aria-hidden": "true" });
      sample.append(
        svg("path", { d: "M0 4H28", class: "mt-curve", style: `stroke: ${color}`, "stroke-dasharray": dash }),
      );
      return make("span", { class: "mt-field" }, sample, make("span", {}, name));
    };
    return make("div", { class: "mt-line" }, ...this.lines.map(entry));
  }

  // where the point stands: coverage and risk here
  follow(share, risk) {
    const { panel } = this;
    for (const { name, path } of this.lines) path.classList.toggle("mt-chosen", name === panel.controls.classifier);
    const x = this.x(share);
    this.point.setAttribute("cx", x);
    this.point.setAttribute("cy", this.y(Number.isNaN(risk) ? 0 : risk));
    this.rule.setAttribute("d", `M${x} ${PLOT.top}V${PLOT.height - PLOT.bottom}`);
    const said = `${percent(share)} answered, ${whole(risk)} of these wrong`;
    const values = { valuemin: 0, valuemax: 100, valuenow: Math.round(100 * share), valuetext: said };
    for (const [name, value] of Object.entries(values)) this.point.setAttribute(`aria-${name}`, value);
  }

  press(event) {
    const { panel } = this;
    const last = panel.options.steps.length - 1;
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    const to = { Home: 0, End: last }[event.key] ?? (by === undefined ? undefined : panel.place + by);
    if (to === undefined) return;
    panel.step(to);
    event.preventDefault();
    event.stopPropagation();
  }

  grab(event) {
    const move = (moved) => {
      const place = this.picture.getBoundingClientRect();
      const x = ((moved.clientX - place.left) / place.width) * PLOT.width;
      this.panel.answering((x - PLOT.left) / (PLOT.width - PLOT.left - PLOT.right));
    };
    const drop = () => {
      this.picture.removeEventListener("pointermove", move);
      this.picture.removeEventListener("pointerup", drop);
      this.picture.removeEventListener("pointercancel", drop);
    };
    this.picture.setPointerCapture(event.pointerId);
    this.picture.addEventListener("pointermove", move);
    this.picture.addEventListener("pointerup", drop);
    this.picture.addEventListener("pointercancel", drop);
    this.point.focus();
    move(event);
    event.preventDefault();
  }
}

PANELS.coverage = Coverage;
