// What every panel is made of: elements, fields, words.

const percent = (share, places = 1) => `${(100 * share).toFixed(places)} %`;
const sure = (share) => (share > 0.995 && share < 1 ? "99 %" : `${Math.round(100 * share)} %`);
// a sentence of the kernel's, with per cent as they are written here
const spaced = (words) => String(words ?? "").replace(/(\d)%/g, "$1 %");
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

// an image's file, or its number
const nameOf = (about) => (about.path ? about.path.split(/[\\/]/).pop() : `image ${about.index}`);

// words that stay on one line: a figure with its interval
const unbroken = (words) => make("span", { class: "mt-unbroken" }, words);

const counted = (number) => Number(number).toLocaleString("en");

// what may be wider than the page: it is scrolled by itself, also by keyboard
function scroller(words, given = "", ...children) {
  const about = { class: `mt-scroll ${given}`.trim(), role: "group", "aria-label": words, tabindex: 0 };
  return make("div", about, ...children);
}

// a table whose first column names the rows; cells are text or elements
function tableOf(head, rows, caption = "") {
  const cells = (row) => row.map((cell, i) => make(i ? "td" : "th", i ? {} : { scope: "row" }, cell));
  return make(
    "table",
    { class: "mt-table" },
    caption ? make("caption", {}, caption) : null,
    make(
      "thead",
      {},
      make("tr", {}, ...head.map((words) => (words ? make("th", { scope: "col" }, words) : make("td", {})))),
    ),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row)))),
  );
}

// two models' accuracy group by group, with the change and its interval
function groupsTable(names, rows, caption = "") {
  const head = ["", "images", `${names[0]}, accuracy`, `${names[1]}, accuracy`, "change, with 95 %"];
  const points = (share) => (100 * share).toFixed(1);
  const changed = ({ change, interval }) =>
    `${change > 0 ? "+" : ""}${points(change)} [${interval.map(points).join(", ")}]`;
  const cells = rows.map((row) => [
    row.name + (row.worst ? " (worst)" : ""),
    counted(row.count),
    percent(row.before),
    percent(row.after),
    unbroken(changed(row)),
  ]);
  return tableOf(head, cells, caption);
}

// Keys here are ours: in JupyterLab 1, 2 and 3 make headings of cells, Enter opens one, arrows fold them
function keep_keys(root) {
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  root.addEventListener("keydown", (event) => event.stopPropagation());
}

// the name of a part: no heading, for a panel does not know below which of its page's headings it stands
const titled = (words) => make("p", { class: "mt-title" }, words);

function small(words, call, given = {}) {
  return make("button", { type: "button", class: "mt-small", onclick: call, ...given }, words);
}

function choose(words, options, value, call) {
  const select = make("select", { "aria-label": words, onchange: (event) => call(event.target.value) });
  for (const [text, key] of options) select.append(make("option", { value: key }, text));
  select.value = value;
  return { label: make("label", { class: "mt-field" }, make("span", {}, words), select), select };
}

function svg(name, given) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) element.setAttribute(key, value);
  return element;
}

const themed = () =>
  document.body.dataset.theme || getComputedStyle(document.body).getPropertyValue("--jp-layout-color1");

// what every panel's root has: colours, a role, a name, keys of its own
function dress(root, title, panel = "scrubber") {
  root.classList.add("masktune", "mt", `mt-${panel}`);
  root.classList.toggle("mt-own", !themed()); // nobody else says which theme: the reader's own
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", title);
  keep_keys(root);
}

// the panels by name; `options.panel` says which
const PANELS = {};
