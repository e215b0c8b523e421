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

// How wide a table is when its words need not break more than once in a while.
function natural(table, narrow) {
  const before = table.style.width;
  table.style.width = narrow ? "max-content" : "min-content";
  const width = table.offsetWidth;
  table.style.width = before;
  return width;
}

// A table that does not fit becomes cards: on a narrow screen already where its lines would have to break.
function fit() {
  const narrow = innerWidth < 600;
  for (const table of document.querySelectorAll("article table")) {
    const head = table.tHead && table.tHead.rows[0];
    if (!head || head.cells.length < 2 || table.closest(".mt, .mt-place")) continue;
    const names = [...head.cells].map((cell) => cell.innerText.trim());
    const box = table.closest(".table-wrapper") || table.parentElement;
    if (!box.clientWidth) continue;
    table.classList.remove("cards");
    const many = names.length > 2;
    const cards = natural(table, narrow && many) > box.clientWidth;
    table.classList.toggle("cards", cards);
    for (const row of table.tBodies[0].rows)
      [...row.cells].forEach((cell, place) => {
        cell.dataset.label = names[place] || "";
        cell.classList.toggle("nothing", !cell.textContent.trim() && !cell.querySelector("img, svg"));
      });
    // A block is no table to a screen reader unless it says so.
    const roles = [[table, "table"], [head, "row"], ...[...head.cells].map((cell) => [cell, "columnheader"])];
    for (const body of [table.tHead, ...table.tBodies]) roles.push([body, "rowgroup"]);
    for (const row of table.tBodies[0].rows) {
      roles.push([row, "row"]);
      for (const cell of row.cells) roles.push([cell, "cell"]);
    }
    for (const [part, role] of roles) {
      if (cards) part.setAttribute("role", role);
      else part.removeAttribute("role");
    }
  }
}

function arrange() {
  fit();
  reachable();
}
for (const moment of ["DOMContentLoaded", "load", "resize"]) addEventListener(moment, arrange);
document.addEventListener("toggle", arrange, true);
