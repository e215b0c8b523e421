// What was tried: a row a finetuning, with its curves and its groups. The table is sorted and a trial is looked at in
// the page; keeping a model is the kernel's.

const CURVE = { left: 50, right: 12, top: 26, bottom: 40, width: 400, height: 196 };
const WITHOUT_KERNEL = "As it was saved: run the cell to finetune, or to keep another model.";

class Launched {
  constructor(root, host) {
    Object.assign(this, { root, host, options: host.get("options"), keeps: 0 });
    this.controls = { chosen: null, sort: "number", down: false, ...host.get("controls") };
    this.build();
    host.listen("page", () => this.told());
    host.listen("summary", () => this.told());
    host.listen("controls", () => {
      this.controls = { ...this.controls, ...host.get("controls") };
      this.told();
    });
    this.told();
  }

  build() {
    const { options, root } = this;
    dress(root, options.title, "launcher");
    this.headline = make("p", { class: "mt-headline" });
    this.curves = make("div", { class: "mt-curves" });
    this.legend = make("p", { class: "mt-made" });
    this.table = scroller("the trials", "mt-trials");
    this.groups = make("div", { class: "mt-groups", role: "group", "aria-label": "one trial" });
    this.status = make("p", { class: "mt-status", role: "status" });
    const foot = make("div", { class: "mt-foot" }, this.status);
    const made = make("p", { class: "mt-made" }, this.host.live ? "" : WITHOUT_KERNEL);
    root.replaceChildren(this.headline, this.curves, this.legend, this.table, this.groups, foot, made);
  }

  get trials() {
    return this.host.get("page")?.trials ?? [];
  }

  get now() {
    return this.host.get("summary") ?? {};
  }

  // the trial that is looked at: the one that was chosen, else the one that is kept, else the last
  get chosen() {
    const { trials } = this;
    const { chosen } = this.controls;
    return trials.find(({ number }) => number === chosen) ?? trials.find(({ kept }) => kept) ?? trials.at(-1);
  }

  // what a finetuning that runs has drawn so far, else the trial that is looked at
  get drawn() {
    const { now, chosen } = this;
    if (now.running || !chosen) return { name: now.running ? "running" : "", points: now.points, rounds: now.rounds };
    return { name: `trial ${chosen.number}`, points: chosen.points, rounds: chosen.rounds, number: chosen.number };
  }

  told() {
    const { now } = this;
    const headline = spaced(now.headline) || (this.trials.length ? "" : this.nothing());
    if (this.headline.textContent !== headline) this.headline.textContent = headline;
    this.draw();
    const shown = JSON.stringify([this.controls, Boolean(now.running), now.stopped, this.host.get("page")]);
    if (shown === this.shown) return; // a step more of a training: the table is as it was
    this.shown = shown;
    this.list();
    this.detail();
  }

  // instead of a headline
  nothing() {
    if (this.now.running) return "The first one is running.";
    return this.now.stopped ? "Stopped before anything was finished." : "Nothing has been finetuned yet.";
  }

  set(controls) {
    Object.assign(this.controls, controls);
    this.told();
    this.host.send(structuredClone(this.controls));
  }

  // ---- the table

  get columns() {
    const { tests } = this.options;
    const named = ["remedy", "rule", "fill", "layer", "rate", "rounds"].map((name) => ({
      name,
      value: (trial) => trial.how[name],
      cell: (trial) => String(trial.how[name]),
    }));
    const scores = tests.flatMap((test, i) =>
      [test, `${test}, worst`].map((words, j) => ({
        name: `on ${words}`, // a test set may be called as another column is
        words,
        value: (trial) => trial.scores[i][j],
        cell: (trial) => (trial.scores[i][j] === null ? "\u2013" : percent(trial.scores[i][j])),
        number: true,
      })),
    );
    return [
      { name: "number", words: "trial", value: ({ number }) => number, cell: (trial) => this.look(trial) },
      { name: "kept", words: "model", value: ({ kept }) => (kept ? 0 : 1), cell: (trial) => this.keeper(trial) },
      ...named,
      ...scores,
      { name: "paid", words: "who paid", value: ({ paid }) => paid, cell: ({ paid }) => paid },
    ];
  }

  sorted(columns) {
    const { value } = columns.find(({ name }) => name === this.controls.sort) ?? columns[0];
    const way = this.controls.down ? -1 : 1;
    const numbers = (a, b) => typeof a === "number" && typeof b === "number";
    const order = (a, b) => (numbers(a, b) ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
    const missing = (value) => value === null || value === undefined || value === "-";
    return [...this.trials].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (missing(a) || missing(b)) return missing(a) - missing(b); // what has no value comes last, either way
      return way * order(a, b) || one.number - other.number;
    });
  }

  list() {
    const { columns } = this;
    const held = this.table.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    const rows = this.sorted(columns).map((trial) => this.row(trial, columns));
    const head = columns.map((column) => this.heading(column));
    const named = this.trials.some(({ best }) => best);
    const caption = named ? make("caption", {}, this.options.caption) : "";
    const table = make("table", { class: "mt-table" }, caption, make("thead", {}, make("tr", {}, ...head)));
    table.append(make("tbody", {}, ...rows));
    const { stopped } = this.now;
    if (stopped) table.append(make("tfoot", {}, make("tr", {}, this.halted(stopped, columns.length))));
    this.table.hidden = !rows.length && !stopped;
    this.table.replaceChildren(table);
    if (held) this.table.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus(); // the table is a new one
  }

  // the last row: what somebody stopped, and where
  halted(words, columns) {
    return make("td", { colspan: columns, class: "mt-stopped" }, make("span", { "aria-hidden": true }, "\u25a0 "), words);
  }

  heading({ name, words, number }) {
    const { sort, down } = this.controls;
    const here = name === sort;
    const call = () => this.set({ sort: name, down: here ? !down : Boolean(number) });
    const sign = here ? (down ? " \u25bc" : " \u25b2") : "";
    const button = make("button", { type: "button", class: "mt-sort", "data-key": `sort ${name}`, onclick: call });
    button.append(words ?? name, make("span", { "aria-hidden": true }, sign));
    const order = here ? (down ? "descending" : "ascending") : "none";
    return make("th", { scope: "col", "aria-sort": order, class: number ? "mt-number" : null }, button);
  }

  row(trial, columns) {
    const cells = columns.map(({ cell, number }, i) =>
      make(i ? "td" : "th", i ? { class: number ? "mt-number" : null } : { scope: "row" }, cell(trial)),
    );
    const classes = [trial === this.chosen ? "mt-looked" : "", trial.best ? "mt-best" : ""].join(" ").trim();
    return make("tr", { class: classes || null }, ...cells);
  }

  look(trial) {
    const call = () => this.set({ chosen: trial.number });
    const given = { "data-key": `look ${trial.number}`, "aria-pressed": String(trial === this.chosen) };
    const button = small(String(trial.number), call, { ...given, "aria-label": `look at trial ${trial.number}` });
    return make("span", { class: "mt-line" }, button, trial.best ? make("b", {}, "\u2605 best") : null);
  }

  // the button of a row that takes its model into the run; of the one that is there, a word
  keeper({ number, kept, how }) {
    const name = `trial ${number}, ${how.remedy}`;
    if (!this.host.live) return kept ? "\u2713 kept" : "\u2013";
    const given = { "data-key": `keep ${number}`, "aria-pressed": String(kept) };
    const words = kept ? "\u2713 kept" : "keep this model";
    const disabled = Boolean(this.now.running);
    return small(words, () => kept || this.keep(number), { ...given, disabled, "aria-label": `${words}: ${name}` });
  }

  keep(number) {
    this.keeps += 1;
    this.host.wish({ keep: number, asked: this.keeps });
  }

  // ---- the trial that is looked at, test set by test set

  detail() {
    const { chosen } = this;
    this.groups.hidden = !chosen;
    if (!chosen) return;
    const { how } = chosen;
    const trained = `${how.rounds} ${how.rounds === "1" ? "round" : "rounds"}, rate ${how.rate}`;
    const layer = how.layer === "found" ? "" : `, layer ${how.layer}`;
    const made = how.rule === "-" ? "" : `: ${how.rule}, fill ${how.fill}${layer}, ${trained}`;
    const names = ["ERM", `trial ${chosen.number}`];
    const tables = Object.entries(chosen.groups).map(([test, rows]) =>
      scroller(`on ${test}, by group`, "", groupsTable(names, rows, test)),
    );
    const heading = titled(`Trial ${chosen.number}, ${how.remedy}${made}`);
    this.groups.replaceChildren(heading, make("div", { class: "mt-line mt-start" }, ...tables));
  }

  // ---- the curves

  draw() {
    const { drawn, trials, now } = this;
    const others = trials.filter(({ number, points }) => number !== drawn.number && points.length);
    const most = Math.max(drawn.rounds ?? 1, ...others.map(({ rounds }) => rounds), 1);
    const points = drawn.points ?? [];
    const lines = others.map((trial) => trial.points);
    this.curves.hidden = !points.length && !lines.length;
    const charts = [
      ["loss", 1, niceTop([...lines.flat(), ...points].map((point) => point[1]))],
      ["accuracy", 2, 1],
    ].map(([name, at, top]) => chartOf(name, drawn.name, points, lines, at, most, top));
    this.curves.replaceChildren(...charts);
    const thin = lines.length ? "; thin: the other trials" : "";
    this.legend.textContent = points.length ? `Thick: ${drawn.name || "the training"}${thin}.` : "";
    if (drawn.number && !points.length) this.legend.textContent = `No curve of ${drawn.name}${thin}.`;
    this.status.textContent = spaced(now.status);
  }

  close() {}
}

// where an axis ends: 1, 2 or 5 times a power of ten, above all of the values
function niceTop(values) {
  const most = Math.max(...values, 1e-9);
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= most * 0.999);
}

// a curve over the rounds: axes, their ticks and names, thin lines, the thick one and its last point
function chartOf(name, whose, points, others, at, rounds, top) {
  const { left, right, bottom, width, height } = CURVE;
  const base = height - bottom;
  const tall = base - CURVE.top;
  const x = (done) => left + ((width - left - right) * done) / rounds;
  const y = (value) => base - tall * Math.min(value / top, 1);
  const text = (words, place, anchor, given = {}) => {
    const element = svg("text", { x: place[0], y: place[1], "text-anchor": anchor, ...given });
    element.textContent = words;
    return element;
  };
  const parts = [];
  for (let k = 0; k <= rounds; k++) {
    parts.push(svg("path", { class: "mt-axis", d: `M${x(k)} ${base}V${CURVE.top}` }));
    parts.push(text(String(k), [x(k), base + 14], "middle"));
  }
  for (let k = 0; k < 5; k++) {
    parts.push(svg("path", { class: "mt-axis", d: `M${left} ${y((top * k) / 4)}H${width - right}` }));
    parts.push(text(short((top * k) / 4), [left - 6, y((top * k) / 4) + 4], "end"));
  }
  parts.push(text("rounds done", [(left + width - right) / 2, height - 8], "middle"));
  const way = (all) => all.map((point, i) => `${i ? "L" : "M"}${x(point[0])} ${y(point[at])}`).join("");
  for (const other of others) parts.push(svg("path", { class: "mt-curve mt-other", d: way(other) }));
  const last = points.at(-1);
  if (last) {
    parts.push(svg("path", { class: "mt-curve mt-this", d: way(points) }));
    parts.push(svg("circle", { class: "mt-end", cx: x(last[0]), cy: y(last[at]), r: 4 }));
  }
  const said = last ? `${name} ${last[at].toFixed(3)}` : name;
  parts.push(text(said, [left, 14], "start", { class: "mt-chart-name" }));
  const end = last ? `, ${last[at].toFixed(3)} at the end` : "";
  const label = `${name}${whose ? ` of ${whose}` : ""} over the rounds${end}`;
  const viewBox = `0 0 ${width} ${height}`;
  const picture = svg("svg", { viewBox, class: "mt-chart", role: "img", "aria-label": label });
  picture.append(...parts);
  return picture;
}

PANELS.launcher = Launched;
