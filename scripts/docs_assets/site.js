// What scrolls can be reached and scrolled by keyboard; the navigation's captions say their level.
function reachable() {
  for (const part of document.querySelectorAll("pre, .table-wrapper, .equation")) {
    if (part.scrollWidth <= part.clientWidth && part.className !== "equation") continue;
    part.tabIndex = 0;
    part.setAttribute("role", "region");
    part.setAttribute("aria-label", "scrolls sideways");
  }
  for (const caption of document.querySelectorAll("[role=heading]:not([aria-level])"))
    caption.setAttribute("aria-level", "2");
}

// The pieces of text within an element, as a list: they may be replaced while it is gone through.
function textsIn(element) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  return texts;
}

// -- words that may break

// Names such as masktune.counterfactuals and Sequence[int]|Tensor break behind a dot, a bar, a bracket: nowhere else.
// So do long names of rows (network.features.12), but for a number's point.
function breakable() {
  const ANYWHERE = /(?<=[\w\])'"][._|,=]|[[(/])(?=\S)/;
  const LONG = /(?<=[a-z]\.|\w\()(?=\w)/;
  for (const part of document.querySelectorAll("article h1, article table code, article td:first-child, .related-pages .title")) {
    const row = part.matches("td") && !part.querySelector("code");
    if (row && !/\S{15}/.test(part.textContent)) continue;
    for (const text of textsIn(part)) {
      const pieces = text.data.split(row ? LONG : ANYWHERE);
      if (pieces.length > 1) text.replaceWith(...pieces.flatMap((piece, n) => (n ? [document.createElement("wbr"), piece] : [piece])));
    }
  }
}

// A name with hyphens (--keep-every, my-images, x86-64) and a date stay on one line: a break behind a hyphen changes what
// a reader types. Longer ones than fit on a phone break as before.
const HYPHENS = /(?:--?)?[\w./]+(?:-[\w./]+)+|--\w+/g;
function unbroken() {
  for (const part of document.querySelectorAll("article .highlight pre, article :not(pre) > code, article p.made")) {
    if (part.closest(".cell_output, h1, h2, h3") || part.querySelector(".linenos")) continue;
    const most = part.closest("table") ? 16 : 28;
    for (const text of textsIn(part)) {
      const pieces = [];
      let end = 0;
      for (const found of text.data.matchAll(HYPHENS)) {
        if (found[0].length > most) continue;
        pieces.push(text.data.slice(end, found.index), span("unbroken", found[0]));
        end = found.index + found[0].length;
      }
      if (end) text.replaceWith(...pieces, text.data.slice(end));
    }
  }
}

function span(kind, words) {
  const made = document.createElement("span");
  made.className = kind;
  made.textContent = words;
  return made;
}

// What a cell printed: sentences break as sentences do, the rows of a table stay whole and scroll.
const SHORT = 36; // characters that fit on a phone
const ROW = /\S {2,}\S|^\s*[[{(]?\s*-?\d+\.?\d*,/;
function sentences() {
  for (const pre of document.querySelectorAll(".cell_output pre")) {
    if ([...pre.children].some((child) => child.textContent)) continue;
    const lines = pre.textContent.split("\n");
    if (!lines.some((line) => line.length > SHORT && !ROW.test(line))) continue;
    const parts = lines.map((line) => {
      if (line.length <= SHORT || ROW.test(line)) return document.createTextNode(line);
      const said = span("said-line", line.trimStart());
      said.style.paddingLeft = `${line.length - line.trimStart().length}ch`;
      return said;
    });
    pre.replaceChildren(...parts.flatMap((part, n) => (n ? ["\n", part] : [part])));
  }
}

// Commands with a remark behind them: where both do not fit on a line, the remark takes the next one.
function remarks() {
  for (const pre of document.querySelectorAll(".highlight-none pre, .highlight-text pre, .highlight-bash pre")) {
    if (pre.closest(".cell_output") || [...pre.children].some((child) => child.textContent)) continue;
    const parts = pre.textContent.split("\n").map((line) => {
      const found = /^(\S.*?\S)(\s+)(# .*)$/.exec(line);
      return found ? [found[1], span("gap", found[2]), span("remark", found[3])] : [line];
    });
    if (parts.every((part) => part.length === 1)) continue;
    pre.replaceChildren(...parts.flatMap((part, n) => (n ? ["\n", ...part] : part)));
  }
}
function breakRemarks() {
  for (const remark of document.querySelectorAll(".remark")) {
    const pre = remark.closest("pre");
    pre.classList.remove("broken");
    const longest = Math.max(...pre.textContent.split("\n").map((line) => line.length));
    const room = pre.clientWidth / (parseFloat(getComputedStyle(pre).fontSize) * 0.61);
    pre.classList.toggle("broken", longest > room - 2);
  }
}

// A piece of text, or of a coloured word of code, with other letters.
function alike(part, letters) {
  const copy = part.cloneNode(false);
  copy.textContent = letters;
  return copy;
}

// Code whose line is broken goes on further in than it began: where a line begins says what it belongs to.
function hanging() {
  for (const pre of document.querySelectorAll("article .highlight pre")) {
    if (pre.closest(".cell_output") || pre.querySelector(".linenos, .line")) continue;
    const lines = [span("line", "")];
    for (const part of [...pre.childNodes]) {
      const pieces = part.textContent.split("\n");
      pieces.forEach((piece, n) => {
        if (n) lines.push(span("line", ""));
        if (piece) lines.at(-1).append(pieces.length > 1 ? alike(part, piece) : part);
      });
    }
    if (!lines.at(-1).textContent) lines.pop(); // a block ends with a new line
    for (const line of lines) {
      const spaces = /^ */.exec(line.textContent)[0];
      line.style.setProperty("--in", `${spaces.length + 4}ch`);
      const first = textsIn(line)[0];
      if (!spaces || !first.data.startsWith(spaces)) continue;
      first.data = first.data.slice(spaces.length); // out of the way of a long name, which else left them alone on a line
      line.prepend(span("spaces", spaces));
    }
    pre.replaceChildren(...lines.flatMap((line) => [line, "\n"]));
  }
}

// -- places

// A panel that comes alive above what a link leads to would push it away: it is held in sight for three seconds, or
// until the reader moves on.
let watch = null;
const letGo = () => watch?.disconnect();
function hold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const page = document.querySelector("article");
  letGo();
  if (!target || !page) return;
  const mine = new ResizeObserver(() => target.scrollIntoView({ behavior: "instant" }));
  mine.observe(page);
  setTimeout(() => mine.disconnect(), 3000);
  watch = mine;
}
addEventListener("DOMContentLoaded", hold);
addEventListener("hashchange", hold);
addEventListener("click", (event) => event.target.closest?.('a[href^="#"]') && setTimeout(hold));
for (const moment of ["wheel", "touchmove", "keydown", "pointerdown"]) addEventListener(moment, letGo, { passive: true });

// The drawers of a narrow screen close when a heading was chosen, or by Escape; the navigation shows where one is.
function closeDrawer(name) {
  const drawer = document.getElementById(name);
  if (drawer) drawer.checked = false;
}
addEventListener("click", (event) => event.target.closest?.(".toc-drawer a") && closeDrawer("__toc"));
addEventListener("keydown", (event) => event.key === "Escape" && ["__toc", "__navigation"].forEach(closeDrawer));
function showPlace() {
  const list = document.querySelector(".sidebar-scroll");
  const here = document.querySelector(".sidebar-tree .current-page > a");
  if (!list || !here) return;
  const below = here.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 3;
  list.scrollBy({ top: below, behavior: "instant" });
}
addEventListener("load", showPlace); // only then are all styles there

// -- tables

// How wide a table is when its words need not break more than once in a while.
function natural(table, narrow) {
  const before = table.style.width;
  table.style.width = narrow ? "max-content" : "min-content";
  const width = table.offsetWidth;
  table.style.width = before;
  return width;
}

// A table of answers says yes or no in every cell; one of figures has numbers behind the first column, but for a cell of
// a few words here and there.
const FIGURE = /^$|^[-+−]?\d[\d.,]*(e[-+]?\d+)?( ?%)?([\s ]*(±|\[|\(|to |of |by |up |s$|x$|MB$)[\s\S]{0,18})?$/;
const WORDS = 30; // characters that such a cell may have
function kindOf(rows) {
  const cells = rows.flatMap((row) => [...row.cells].slice(1).map((cell) => cell.innerText.trim()));
  if (!cells.length) return "";
  if (cells.every((words) => /^(yes|no)$/.test(words))) return "answers";
  const figures = cells.filter((words) => FIGURE.test(words));
  return figures.length >= 0.6 * cells.length && cells.every((words) => words.length <= WORDS) ? "figures" : "";
}

// What is done once to a table of figures: its cells of words are marked, and what a figure spreads over (± 4.6,
// [21.2, 50.4]) can stand below it.
function prepareFigures(rows) {
  for (const cell of rows.flatMap((row) => [...row.cells].slice(1))) {
    cell.classList.toggle("words", !FIGURE.test(cell.innerText.trim()));
    for (const text of textsIn(cell)) {
      const found = /^([\s\S]*?)([\s\u00a0]+)([±[(][\s\S]*)$/.exec(text.data);
      if (found) text.replaceWith(found[1], span("gap", found[2]), span("spread", found[3]));
    }
  }
}

// The forms that a table can take, the most roomy first: what is compared down a column stays a table as long as its
// smallest form fits. *snug* and *tight* are smaller letters, *stacked* puts what a figure spreads over below it,
// *upright* turns the column's names.
const FORMS = {
  wide: ["", "snug", "snug stacked", "tight stacked"],
  narrow: ["tight", "tight stacked", "tight stacked upright"],
};
function formsOf(kind, narrow) {
  if (kind === "figures") return FORMS[narrow ? "narrow" : "wide"];
  return [kind === "answers" && narrow ? "tight upright" : ""];
}

// A table that does not fit becomes cards: on a narrow screen already where its lines would have to break.
const SIGNATURE = /^(parameter|field), type, default, meaning$/;
function fit() {
  const narrow = innerWidth < 600;
  for (const table of document.querySelectorAll("article table")) {
    const head = table.tHead && table.tHead.rows[0];
    if (!head || head.cells.length < 2 || table.closest(".mt, .mt-place")) continue;
    const names = [...head.cells].map((cell) => cell.textContent.trim());
    const box = table.closest(".table-wrapper") || table.parentElement;
    if (!box.clientWidth) continue;
    const rows = [...table.tBodies[0].rows];
    table.classList.remove("cards", "tight", "snug", "stacked", "upright", "pair");
    if (table.dataset.kind === undefined) {
      table.dataset.kind = kindOf(rows);
      if (table.dataset.kind === "figures") prepareFigures(rows);
      for (const cell of head.cells) if (!cell.firstElementChild) cell.replaceChildren(span("name", cell.textContent));
    }
    const kind = table.dataset.kind;
    if (kind === "answers")
      for (const row of rows)
        for (const cell of [...row.cells].slice(1)) cell.classList.add(cell.innerText.trim());
    const pair = narrow && names.length === 2 && !kind;
    table.classList.toggle("pair", pair);
    const many = names.length > 2;
    const fits = formsOf(kind, narrow).some((form) => {
      table.classList.remove("tight", "snug", "stacked", "upright");
      if (form) table.classList.add(...form.split(" "));
      return natural(table, narrow && many && !kind) <= box.clientWidth;
    });
    // Of two columns the second has the words: it gets most of the page, or all of it.
    const first = pair && rows[0] ? rows[0].cells[0].offsetWidth : 0;
    const cards = !fits || first > 0.4 * box.clientWidth;
    table.classList.toggle("cards", cards);
    table.classList.toggle("signature", cards && SIGNATURE.test(names.join(", ")));
    if (cards) table.classList.remove("tight", "snug", "stacked", "upright");
    for (const row of rows)
      [...row.cells].forEach((cell, place) => {
        cell.dataset.label = names[place] || "";
        cell.classList.toggle("date", /^\d{4}-\d\d-\d\d$/.test(cell.textContent.trim()));
        cell.classList.toggle("long", place > 0 && cell.textContent.length > 80); // its column's name stands above it
        cell.classList.toggle("nothing", !cell.textContent.trim() && !cell.querySelector("img, svg"));
      });
    // A block is no table to a screen reader unless it says so.
    const roles = [[table, "table"], [head, "row"], ...[...head.cells].map((cell) => [cell, "columnheader"])];
    for (const body of [table.tHead, ...table.tBodies]) roles.push([body, "rowgroup"]);
    for (const row of rows) {
      roles.push([row, "row"]);
      for (const cell of row.cells) roles.push([cell, "cell"]);
    }
    for (const [part, role] of roles) {
      if (cards) part.setAttribute("role", role);
      else part.removeAttribute("role");
    }
  }
}

// -- pictures

// A picture that is shown much smaller than it is opens in its own size.
function enlargeable() {
  for (const picture of document.querySelectorAll("article img")) {
    const small = picture.clientWidth > 0 && picture.naturalWidth > 1.25 * picture.clientWidth;
    if (small === picture.classList.contains("small")) continue;
    picture.classList.toggle("small", small);
    if (small) {
      picture.tabIndex = 0;
      picture.setAttribute("role", "button");
      picture.setAttribute("aria-label", `Enlarge: ${picture.alt}`);
      const place = picture.closest("picture") || picture;
      if (!place.nextElementSibling?.classList.contains("enlarge")) place.after(span("enlarge", "tap to enlarge"));
    } else for (const name of ["tabindex", "role", "aria-label"]) picture.removeAttribute(name);
  }
}

function enlarge(picture) {
  const dialog = document.createElement("dialog");
  dialog.className = "picture";
  dialog.setAttribute("aria-label", picture.alt);
  const close = document.createElement("button");
  close.textContent = "close";
  const copy = document.createElement("img");
  copy.src = picture.currentSrc || picture.src;
  copy.alt = picture.alt;
  dialog.append(close, copy);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
addEventListener("click", (event) => {
  if (event.target.matches?.("article img.small")) enlarge(event.target);
});
addEventListener("keydown", (event) => {
  if (!event.target.matches?.("article img.small") || !["Enter", " "].includes(event.key)) return;
  event.preventDefault();
  enlarge(event.target);
});

function arrange() {
  fit();
  breakRemarks();
  enlargeable();
  reachable();
}
// A picture that only leads to its own file opens on the page instead.
function unlinked() {
  for (const link of document.querySelectorAll("article a.image-reference")) link.replaceWith(...link.childNodes);
}

// The page of what was found is empty for whoever comes without a question: it asks for one.
function askForWords() {
  const found = document.querySelector("#search-results");
  if (!found || new URLSearchParams(location.search).get("q")) return;
  const form = document.createElement("form");
  form.className = "ask";
  form.setAttribute("role", "search");
  form.innerHTML =
    '<h1>Search</h1><input type="search" name="q" aria-label="words to look for" placeholder="words to look for">' +
    '<button type="submit">Search</button>';
  found.before(form);
}

addEventListener("DOMContentLoaded", () => {
  unlinked();
  breakable();
  sentences();
  remarks();
  unbroken();
  hanging();
  askForWords();
});
for (const moment of ["DOMContentLoaded", "load", "resize"]) addEventListener(moment, arrange);
document.addEventListener("toggle", arrange, true);
document.addEventListener("load", (event) => event.target.matches?.("article img") && enlargeable(), true);

// Pictures follow the system's scheme by themselves, and here the one that a reader has chosen.
function chooseScheme() {
  const chosen = document.body.dataset.theme;
  const media = { dark: "all", light: "not all" }[chosen] || "(prefers-color-scheme: dark)";
  for (const source of document.querySelectorAll("picture > source[media]")) source.media = media;
}
addEventListener("DOMContentLoaded", () => {
  chooseScheme();
  new MutationObserver(chooseScheme).observe(document.body, { attributeFilter: ["data-theme"] });
});
