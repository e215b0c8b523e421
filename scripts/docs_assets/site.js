// What scrolls can be reached and scrolled by keyboard; the navigation's captions say their level.
function reachable() {
  for (const part of document.querySelectorAll("pre, .table-wrapper, .equation"))
    if (part.scrollWidth > part.clientWidth || part.className === "equation") { part.tabIndex = 0; part.setAttribute("role", "region"); part.setAttribute("aria-label", "scrolls sideways"); }
  for (const caption of document.querySelectorAll("[role=heading]:not([aria-level])")) caption.setAttribute("aria-level", "2");
}
for (const moment of ["DOMContentLoaded", "load", "resize"]) addEventListener(moment, reachable);
