// Arrow keys in tables of layers by heads; a live line says which head it is, and leads to its row.
"use strict";
for (const table of document.querySelectorAll("table[data-heads]")) {
  const cells = [...table.tBodies[0].rows].map((row) => [...row.cells].slice(1, -1));
  const live = table.closest("section").querySelector("[data-heads-live]");
  let [layer, head] = [0, 0];
  cells.forEach((row, l) => row.forEach((cell, h) => { if (cell.classList.contains("ring")) [layer, head] = [l, h]; }));

  const say = () => {
    const cell = cells[layer][head];
    const range = cell.dataset.ci ? " [" + cell.dataset.ci + "]" : "";
    const value = cell.textContent.replace(/^(−?)\./, "$10.");
    const href = table.dataset.heads + "&" + new URLSearchParams({ q: `head=${head},layer=${layer}` });
    live.replaceChildren(`layer ${layer}, head ${head}: ${value === "–" ? "no score" : value}${range}; `, XB.el("a", { href }, "its row among the results"));
  };
  const go = (l, h, focus) => {
    cells[layer][head].tabIndex = -1;
    layer = Math.min(Math.max(l, 0), cells.length - 1);
    head = Math.min(Math.max(h, 0), cells[layer].length - 1);
    cells[layer][head].tabIndex = 0;
    if (focus) cells[layer][head].focus();
  };
  go(layer, head, false);

  table.addEventListener("keydown", (event) => {
    const moves = {
      ArrowUp: [layer - 1, head], ArrowDown: [layer + 1, head], ArrowLeft: [layer, head - 1], ArrowRight: [layer, head + 1],
      Home: [event.ctrlKey ? 0 : layer, 0], End: [event.ctrlKey ? Infinity : layer, Infinity],
    };
    if (!moves[event.key] || event.altKey || event.metaKey) return;
    event.preventDefault();
    go(...moves[event.key], true);
  });
  const at = (event, focus) => cells.forEach((row, l) => { const h = row.indexOf(event.target.closest("td")); if (h >= 0) go(l, h, focus); });
  table.addEventListener("focusin", (event) => { at(event, false); say(); });
  table.addEventListener("click", (event) => at(event, true));
}
