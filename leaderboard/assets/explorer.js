// All results: filter, sort, choose columns, page, take away. Ranks come from the data; nothing here computes one.
"use strict";
(function () {
const { el, number, cost, count, reader, csvCell, button } = XB;
const data = XB.get("results");
const names = XB.get("entities");
const table = document.getElementById("results");
if (!data || !names || !table) return;

const total = data.n;
const PAGE = 100;
const runOf = data.cols.run.v;
const col = (name) => reader(data.cols[name]);
const perRun = (name) => { const read = reader(data.runs[name]); return (i) => read(runOf[i]); };
const entity = (kind, name) => {
  const slug = perRun(name);
  const known = new Map(Object.entries(names[kind]));
  return (i) => known.get(slug(i));
};
const config = entity("configs", "config");
const task = entity("tasks", "task");
const model = entity("models", "model");
const slugOf = perRun("config");
const runId = perRun("id");
const [metric, reference] = [col("metric"), col("reference")];
const comparedWith = (i) => (names.metrics[metric(i)].timed ? null : reference(i));   // word times are held against no reference
const rowName = (i) => `${runId(i)}/${metric(i)}${reference(i) === null ? "" : "@" + reference(i)}`;

// -- columns
// key: what is sorted. cell: what is shown, in parts. down: largest first at the first click. The page says the label.
const plain = (read) => ({ key: read, cell: (i) => [bdi(read(i))] });
const numeric = (read, digits) => ({ key: read, n: true, down: true, cell: (i) => [number(read(i), digits)] });
const priced = (read) => ({ key: read, n: true, cell: (i) => [cost(read(i))] });
const [value, low, high, reason, rank, rankHigh, rankReason, n, clusters] = ["value", "low", "high", "reason", "rank", "rank_high", "rank_reason", "n", "clusters"].map(col);
const [seconds, passes, memory, checked, date, submission] = ["seconds", "passes", "memory", "checked", "date", "submission"].map(perRun);
const bdi = (text) => el("bdi", null, text === null ? "none" : text);
const none = (why) => {
  const said = !why ? "not recorded" : /^[a-z0-9-]+$/.test(why) ? why.replaceAll("-", " ") : why;
  return [el("abbr", { class: "none", title: said }, "–"), el("span", { class: "vh" }, ` (${said})`)];
};
const COLUMNS = new Map(Object.entries({
  config: { key: (i) => config(i).label },
  value: { key: value, n: true, down: true,
    cell: (i) => (value(i) === null ? none(reason(i)) : [el("span", { "data-f": "value" }, number(value(i), 3)), ...XB.range(low(i), high(i))]) },
  rank: { key: rank, n: true,
    cell: (i) => (rank(i) === null ? none(rankReason(i)) : [rank(i), ...(rank(i) === rankHigh(i) ? [] : [" ", el("small", null, `(${rank(i)}–${rankHigh(i)})`)])]) },
  skill: numeric(col("skill"), 2),
  weighted: numeric(col("weighted"), 3),
  model: plain((i) => model(i).title),
  task: plain((i) => task(i).title),
  metric: plain(metric),
  reference: plain(comparedWith),
  position: { n: true, cell: (i, position) => [position] },
  floor: numeric(col("floor"), 2),
  ceiling: numeric(col("ceiling"), 2),
  n: numeric(n, 0),
  seconds: priced(seconds),
  date: { key: date, down: true, cell: (i) => [el("a", { href: `runs/${submission(i)}.html` }, date(i))] },
  family: plain((i) => config(i).family),
  dataset: plain((i) => task(i).dataset),
  clusters: numeric(clusters, 0),
  disattenuated: numeric(col("disattenuated"), 2),
  passes: priced(passes),
  memory: numeric(memory, 0),
  device: plain(perRun("device")),
  status: plain(perRun("status")),
  checked: plain(checked),
  reason: plain(reason),
  row: { key: rowName, cell: (i) => [el("a", { href: "#" + new URLSearchParams({ row: rowName(i) }) }, bdi(rowName(i)))] },
}));
const chooser = document.getElementById("columns");
const heads = [...table.tHead.rows[0].cells];
const DEFAULT = heads.filter((head) => !head.hidden).map((head) => head.dataset.col);
for (const { dataset: { col: name }, firstChild } of heads) {
  const column = COLUMNS.get(name);
  column.label = firstChild.textContent;
  if (column.key) firstChild.replaceWith(button(column.label, null, { "data-sort": name, title: firstChild.title }));
}

function cell(name, i, position) {
  const column = COLUMNS.get(name);
  if (name === "config") {
    const c = config(i);
    const link = el("a", { class: "cfg", href: `methods/${c.page}.html` }, el("i", { class: "m m-" + c.family }), bdi(c.label));
    return el("th", { scope: "row" }, tick(slugOf(i), c.label), link, ...(checked(i) === "self-reported" ? [] : [" ", el("small", { class: "tag" }, checked(i))]));
  }
  return el("td", column.n ? { class: "n" } : null, ...column.cell(i, position));
}

// -- state
const form = document.getElementById("filters");
const status = document.getElementById("count");
const FIELDS = ["q", "method", "family", "model", "task", "metric", "reference", "status", "min"];
const KEYS = [...FIELDS, "row", "sort", "cols", "page", "rows", "tick"];
let state = new Map();
let view = null;   // indices of the rows that pass the filters, in order

function readState() {
  const given = XB.fragment.read();
  state = new Map(KEYS.filter((key) => given.get(key)).map((key) => [key, given.get(key)]));
  if (!COLUMNS.get((state.get("sort") || "").replace(/^-/, ""))?.key) state.delete("sort");
  for (const field of FIELDS) {
    const input = form.elements[field];
    if (!input) continue;
    input.value = state.get(field) || "";
    if (input.value === "") state.delete(field);   // a value that is not on offer filters nothing
  }
}

function columns() {
  const wanted = (state.get("cols") || "").split(",").filter((name) => COLUMNS.has(name));
  return wanted.length ? [...COLUMNS.keys()].filter((name) => name === "config" || wanted.includes(name)) : DEFAULT;
}

function change(changes, push = true) {
  for (const [key, text] of Object.entries(changes)) {
    if (text === "" || text === null) state.delete(key); else state.set(key, text);
  }
  if (!("page" in changes || "tick" in changes)) state.delete("page");
  XB.fragment.write(state, push);
  show();
}

// -- filter and sort
const cfg = new Map(Object.entries(names.configs));

const FACTS = {
  method: (i) => config(i).page, family: (i) => config(i).family, model: perRun("model"), task: perRun("task"), status: perRun("status"),
  metric, reference, row: rowName,
};
let texts;   // what a search looks through, by row: made when somebody searches

function tests() {
  const found = [];
  for (const [key, read] of Object.entries(FACTS)) {
    const wanted = state.get(key);
    if (wanted) found.push((i) => read(i) === wanted);
  }
  if (state.has("min")) { const least = Number(state.get("min")); found.push((i) => n(i) >= least); }
  for (const word of (state.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean)) {
    texts ??= Array.from({ length: total }, (_, i) => [config(i).label, model(i).title, task(i).title, metric(i), comparedWith(i)].join(" ").toLowerCase());
    found.push((i) => texts[i].includes(word));
  }
  return found;
}

// Sort keys of all rows as numbers: texts by their place among the distinct ones; NaN is missing and stays last.
const keys = new Map();
function sortKeys(name) {
  if (!keys.has(name)) {
    const read = COLUMNS.get(name).key;
    const made = new Float64Array(total);
    if (COLUMNS.get(name).n) for (let i = 0; i < total; i++) made[i] = read(i) ?? NaN;
    else {
      const texts = Array.from({ length: total }, (_, i) => read(i));
      const compare = new Intl.Collator("en", { numeric: true }).compare;
      const place = new Map([...new Set(texts)].filter((text) => text !== null).sort(compare).map((text, at) => [text, at]));
      for (let i = 0; i < total; i++) made[i] = texts[i] === null ? NaN : place.get(texts[i]);
    }
    keys.set(name, made);
  }
  return keys.get(name);
}

function select() {
  const all = tests();
  const kept = [];
  for (let i = 0; i < total; i++) if (all.every((test) => test(i))) kept.push(i);
  const sort = state.get("sort");
  if (!sort) return kept;
  const down = sort.startsWith("-");
  const key = sortKeys(sort.replace("-", ""));
  const known = kept.filter((i) => !isNaN(key[i]));
  const missing = kept.filter((i) => isNaN(key[i]));
  known.sort(down ? (a, b) => key[b] - key[a] || a - b : (a, b) => key[a] - key[b] || a - b);
  return known.concat(missing);
}

// -- table
function mark(shown) {
  const sort = state.get("sort") || "";
  for (const head of heads) {
    const name = head.dataset.col;
    head.hidden = !shown.includes(name);
    if (name === sort.replace("-", "")) head.setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

// What is in sight is drawn at once, other rows after the frame that shows it.
const body = table.tBodies[0];
let turn = 0;
function fill(part, first, shown) {
  const mine = ++turn;
  const at = shown.indexOf("value");
  let [least, most] = [Infinity, -Infinity];
  for (const i of part) {
    if (value(i) === null) continue;
    least = Math.min(least, low(i) ?? value(i));
    most = Math.max(most, high(i) ?? value(i));
  }
  const bar = (row, i) => {
    if (at < 0 || value(i) === null) return;
    const td = row.cells[at];
    for (const [name, x] of [["--low", low(i)], ["--high", high(i)], ["--at", value(i)]]) {
      td.style.setProperty(name, `${(5 + 90 * ((x ?? value(i)) - least) / (most - least || 1)).toFixed(1)}%`);
    }
  };
  const make = (i, position) => {
    const row = el("tr", { "data-row": rowName(i), class: rank(i) === 1 ? "lead" : null }, ...shown.map((name) => cell(name, i, position)));
    bar(row, i);
    return row;
  };
  const step = (start, size) => {
    if (mine !== turn) return;
    const rows = part.slice(start, start + size).map((i, r) => make(i, first + start + r + 1));
    if (!part.length) rows.push(el("tr", null, el("td", { colspan: shown.length }, "No row passes these filters.")));
    if (start) body.append(...rows); else body.replaceChildren(...rows);
    ticks();
    const more = start + size < part.length;
    body.setAttribute("aria-busy", String(more));
    if (more) requestAnimationFrame(() => setTimeout(step, 0, start + size, 500));
  };
  step(0, Math.ceil(innerHeight / 28));
}

let drawn = null;
function draw() {
  const shown = columns();
  const size = state.has("rows") ? view.length : PAGE;
  const pages = Math.ceil(view.length / size) || 1;
  const page = Math.min(Math.max(parseInt(state.get("page")) || 1, 1), pages);
  const from = (page - 1) * size;
  const part = view.slice(from, from + size);
  const next = [shown, from, part.length, [...state].filter(([key]) => [...FIELDS, "row", "sort"].includes(key))].join("|");
  mark(shown);
  if (next !== drawn) fill(part, from, shown);
  drawn = next;
  ticks();
  paging(page, pages, from, part.length);
}

const whole = (n) => n.toLocaleString("en");
const go = (text, changes) => button(text, () => { change(changes()); table.parentElement.scrollTo(0, 0); });
let at = 1;
const [back, place, on] = [go("Previous", () => ({ page: at > 2 ? String(at - 1) : "" })), el("span"), go("Next", () => ({ page: String(at + 1) }))];
const every = go("", () => ({ rows: state.has("rows") ? "" : "all" }));
document.getElementById("pages").append(back, place, on, every);
function paging(page, pages, from, size) {
  at = page;
  for (const part of [back, place, on]) part.hidden = pages < 2;
  [back.disabled, on.disabled] = [page < 2, page === pages];
  place.textContent = `page ${page} of ${whole(pages)}`;
  every.hidden = view.length <= PAGE;
  every.textContent = state.has("rows") ? `Show ${PAGE} at a time` : `Show all ${whole(view.length)}`;
  const where = size < view.length ? `, ${whole(from + 1)}–${whole(from + size)} shown` : "";
  status.textContent = (view.length === total ? count(total, "row") : `${whole(view.length)} of ${count(total, "row")}`) + where;
}

function show() {
  view = select();
  draw();
}

// -- ticked rows
const compare = el("a", { class: "button", hidden: true });
const ticked = () => (state.get("tick") || "").split(",").filter((slug) => cfg.has(slug)).slice(-2);
const tick = (slug, label) => el("input", { type: "checkbox", class: "js tick", "data-tick": slug, "aria-label": `Compare ${label}` });
function ticks() {
  const chosen = ticked();
  for (const box of table.querySelectorAll("[data-tick]")) box.checked = chosen.includes(box.dataset.tick);
  compare.hidden = chosen.length < 2;
  if (chosen.length < 2) return;
  compare.href = "compare.html#" + new URLSearchParams({ a: chosen[0], b: chosen[1] });
  compare.replaceChildren("Compare ", bdi(cfg.get(chosen[0]).label), " with ", bdi(cfg.get(chosen[1]).label));
}

// -- taking a view away
const same = (name) => [name, COLUMNS.get(name).key];
const CSV = [
  same("row"), ["method", (i) => config(i).method], ...["config", "family", "model", "task", "dataset", "metric", "reference", "value"].map(same),
  ...["low", "high", "n", "clusters", "floor", "ceiling", "skill", "disattenuated", "weighted", "rank", "rank_high", "rank_reason"].map((name) => [name, col(name)]),
  same("status"), same("checked"), same("reason"), ["seconds_per_audio_second", seconds], ["passes_per_utterance", passes],
  ["peak_memory_mb", memory], ["device", perRun("device")], ["date", date], ["submission", submission],
];
const csv = () => [CSV.map(([name]) => name), ...view.map((i) => CSV.map(([, read]) => csvCell(read(i))))].map((line) => line.join(",") + "\n").join("");

// As in its cell; what is missing is a dash without its reason.
const written = (name, i, position) => (COLUMNS.get(name).n ? cell(name, i, position).textContent.replace(/^–.*/, "–") : COLUMNS.get(name).key(i) ?? "–");
const lines = () => view.map((i, r) => columns().map((name) => written(name, i, r + 1)));
const labels = () => columns().map((name) => COLUMNS.get(name).label);
function markdown() {
  const line = (cells) => `| ${cells.map((text) => text.replace(/[\\|]/g, "\\$&").replace(/\s+/g, " ")).join(" | ")} |\n`;
  return line(labels()) + "|" + columns().map((name) => (COLUMNS.get(name).n ? "---:|" : "---|")).join("") + "\n" + lines().map(line).join("");
}
const LATEX = new Map([["\\", "\\textbackslash{}"], ["~", "\\textasciitilde{}"], ["^", "\\textasciicircum{}"], ["–", "--"], ["−", "$-$"], ...[..."&%$#_{}"].map((c) => [c, "\\" + c])]);
function latex() {
  const line = (cells) => cells.map((text) => [...text].map((c) => LATEX.get(c) || c).join("")).join(" & ") + " \\\\\n";
  const shape = columns().map((name) => (COLUMNS.get(name).n ? "r" : "l")).join("");
  return `\\begin{tabular}{${shape}}\n\\toprule\n${line(labels())}\\midrule\n${lines().map(line).join("")}\\bottomrule\n\\end{tabular}\n`;
}

const tools = document.getElementById("tools");
const { told, tell, link } = XB.teller();
chooser.addEventListener("change", () => {
  const wanted = [...chooser.querySelectorAll("input:checked:enabled")].map((box) => box.value);
  const standard = DEFAULT.filter((name) => name !== "config").join();
  change({ cols: wanted.join() === standard ? "" : wanted.join() || "config", page: state.get("page") || "" });
});
const choose = () => {
  const shown = columns();
  for (const box of chooser.querySelectorAll("input")) box.checked = shown.includes(box.value);
};
tools.prepend(compare);
tools.append(
  link,
  button("CSV", () => { XB.save(csv(), "xbench-view.csv", "text/csv"); tell(`${count(view.length, "row")} saved.`); }),
  button("Markdown", () => XB.copy(markdown(), tell)), button("LaTeX", () => XB.copy(latex(), tell)), told);

// -- events
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => {
  const { name } = event.target;
  change({ [name]: event.target.value.trim(), row: "" }, name !== "q" && name !== "min");
});
form.addEventListener("reset", () => change(Object.fromEntries([...FIELDS, "row", "sort"].map((key) => [key, ""]))));
table.tHead.addEventListener("click", (event) => {
  const name = event.target.closest("[data-sort]")?.dataset.sort;
  if (!name) return;
  const [first, second] = COLUMNS.get(name).down ? ["-" + name, name] : [name, "-" + name];
  const now = state.get("sort");
  change({ sort: now === first ? second : now === second ? "" : first });
});
table.addEventListener("change", (event) => {
  const slug = event.target.dataset.tick;
  if (!slug) return;
  const rest = ticked().filter((other) => other !== slug);
  change({ tick: (event.target.checked ? [...rest, slug] : rest).slice(-2).join() }, false);
});
const restore = () => { readState(); choose(); show(); };
addEventListener("hashchange", restore);
restore();
document.documentElement.classList.add("ready");
})();
