// Tables of all pages: sort by a column, take away as CSV or as a link. What is shown was written by Python.
"use strict";
(function () {
const { el, csvCell, button } = XB;
const tables = [...document.querySelectorAll("table.sort")];
const collator = new Intl.Collator("en", { numeric: true });
// What a cell says: its value alone where that stands apart from its interval.
const said = (cell) => (cell.querySelector("[data-f=value]") || cell).textContent.trim().replace(/\s+/g, " ");
const amount = (text) => parseFloat(text.replace("−", "-").replaceAll(",", ""));

tables.forEach((table, which) => {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const order = (at, down) => {
    const all = given.map((row) => ({ row, text: row.cells[at] ? said(row.cells[at]) : "–" }));
    const missing = ({ text }) => text === "" || text.startsWith("–");
    const known = all.filter((one) => !missing(one));
    const numbers = known.every(({ text }) => !isNaN(amount(text)));
    known.sort((a, b) => (numbers ? amount(a.text) - amount(b.text) : collator.compare(a.text, b.text)));
    if (down) known.reverse();
    return [...known, ...all.filter(missing)].map(({ row }) => row);
  };
  const show = (wanted) => {
    const [, at, down] = /^(\d+)(-?)$/.exec(wanted) || [];
    heads.forEach((head, i) => {
      if (String(i) === at) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.append(...(heads[at] ? order(at, down) : given));
  };
  const key = which ? `sort${which + 1}` : "sort";
  const state = () => XB.fragment.read().get(key) || "";
  heads.forEach((head, i) => {
    if (head.classList.contains("plot")) return;
    const name = head.textContent.trim().replace(/\s+/g, " ");
    head.append(button("", () => {
      const [up, down] = head.classList.contains("n") ? [`${i}-`, `${i}`] : [`${i}`, `${i}-`];
      const next = state() === up ? down : state() === down ? "" : up;
      XB.fragment.write(XB.fragment.read().set(key, next), true);
      show(next);
    }, { class: "by", "aria-label": "Sort by " + name }));
  });
  const { told, tell, link } = XB.teller();
  const csv = () => [heads, ...[...body.rows].map((row) => [...row.cells])]
    .map((line) => line.filter((cell, i) => !heads[i].classList.contains("plot")).map((cell) => csvCell(said(cell))).join(",") + "\n").join("");
  table.parentElement.after(el("p", { class: "tools" },
    button("CSV", () => { XB.save(csv(), "xbench-table.csv", "text/csv"); tell("Saved."); }),
    link, told));
  const restore = () => show(state());
  addEventListener("hashchange", restore);
  if (state()) restore();
});
})();
