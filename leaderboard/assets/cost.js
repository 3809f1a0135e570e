// Cost charts: a point and its line of the table show each other; families can be dimmed. Fronts come from Python.
"use strict";
(function () {
const { el } = XB;
document.querySelectorAll("figure.chart").forEach((figure, number) => {
  const table = figure.nextElementSibling?.querySelector("table");
  if (!table) return;
  const points = new Map();
  for (const point of figure.querySelectorAll("svg g")) {
    const title = point.querySelector("title")?.textContent;
    if (title) points.set(title.slice(0, title.lastIndexOf(": ")), point);
  }
  const live = el("p", { class: "note live", role: "status" }, "Point at a mark");
  const pairs = [];
  for (const row of table.tBodies[0].rows) {
    const point = points.get(row.cells[0].querySelector("bdi").textContent);
    if (point) pairs.push([point, row]);
  }
  let marked = [];
  const choose = (pair) => {
    for (const part of marked) part.classList.remove("chosen");
    for (const part of pair) part.classList.add("chosen");
    marked = pair;
    const [name, price, score, , line] = [...pair[1].cells].map((cell) => cell.textContent.trim());
    live.replaceChildren(el("bdi", null, name), `: ${score} at ${price}; on the line: ${line}`);
  };
  for (const pair of pairs) {
    for (const part of pair) part.addEventListener("pointerenter", () => choose(pair));
    pair[1].addEventListener("focusin", () => choose(pair));
  }

  const families = [...new Set(pairs.map(([point]) => point.getAttribute("class").match(/f-(\w+)/)[1]))].sort();
  const boxes = families.map((family) => {
    const box = el("input", { type: "checkbox", checked: true, id: `family-${number}-${family}` });
    box.addEventListener("change", () => {
      for (const [point, row] of pairs) {
        if (!point.classList.contains("f-" + family)) continue;
        point.classList.toggle("off", !box.checked);
        row.hidden = !box.checked;
      }
    });
    return el("label", null, box, " ", el("i", { class: "m m-" + family }), family);
  });
  figure.prepend(el("fieldset", { class: "families" }, el("legend", null, "Show"), ...boxes), live);
});
})();
