// Tables of all pages: sort by a column, take away as CSV or as a link. What is shown was written by Python.
"use strict";
(function () {
const { el, csvCell, button } = XB;
const tables = [...document.querySelectorAll("table.sort")];
const collator = new Intl.Collator("en", { numeric: true });
const said = (cell) => (cell ? cell.textContent.trim().replace(/\s+/g, " ") : "–");
const amount = (text) => parseFloat(text.replace("−", "-").replaceAll(",", ""));
// A number, with the ends of its interval or of its ranks behind it.
const FIGURE = /^([−\d.,]+)(?: [[(]([−\d.,]+)(?:, |–)([−\d.,]+)[\])])?(?: n \d+)?$/;
const figures = (cell) => {
  const text = said(cell).replace(/^–.*/, "");
  const found = cell?.matches(".n, .heat td") && FIGURE.exec(text);
  return found ? found.slice(1).map((part) => part && amount(part)) : [text];
};

tables.forEach((table, which) => {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const order = (at, down) => {
    const all = given.map((row) => ({ row, text: said(row.cells[at]) }));
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
    const name = said(head);
    head.append(button("", () => {
      const [up, down] = head.classList.contains("n") ? [`${i}-`, `${i}`] : [`${i}`, `${i}-`];
      const next = state() === up ? down : state() === down ? "" : up;
      XB.fragment.write(XB.fragment.read().set(key, next), true);
      show(next);
    }, { class: "by", "aria-label": "Sort by " + name }));
  });
  const { told, tell, link } = XB.teller();
  const csv = () => {
    const columns = heads.filter((head) => !head.classList.contains("plot")).flatMap((head) => {
      const cells = [...body.rows].map((row) => figures(row.cells[head.cellIndex]));
      const parts = cells.some(([, low]) => low !== undefined) ? ["", " low", " high"] : [""];
      return parts.map((part, k) => [said(head).replace(/ \[.*/, "") + part, ...cells.map((cell) => cell[k])]);
    });
    return columns[0].map((_, r) => columns.map((column) => csvCell(column[r])).join() + "\n").join("");
  };
  table.parentElement.after(el("p", { class: "tools" },
    button("CSV", () => { XB.save(csv(), "xbench-table.csv", "text/csv"); tell("Saved."); }),
    link, told));
  const restore = () => show(state());
  addEventListener("hashchange", restore);
  if (state()) restore();
});
})();
