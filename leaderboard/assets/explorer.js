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
const rowName = (i) => `${runId(i)}/${metric(i)}${reference(i) === null ? "" : "@" + reference(i)}`;

// -- columns
// key: what is sorted. cell: what is shown. down: largest first at the first click. The page says label and hint.
const plain = (read) => ({ key: read, cell: (i) => bdi(read(i)) });
const numeric = (read, digits) => ({ key: read, n: true, down: true, cell: (i) => number(read(i), digits) });
const [value, low, high, reason, rank, rankHigh, rankReason, n, clusters] = ["value", "low", "high", "reason", "rank", "rank_high", "rank_reason", "n", "clusters"].map(col);
const [seconds, passes, memory, checked, date, submission] = ["seconds", "passes", "memory", "checked", "date", "submission"].map(perRun);
const bdi = (text) => el("bdi", null, text === null ? "none" : text);
const none = (why) => {
  const said = !why ? "not recorded" : /^[a-z0-9-]+$/.test(why) ? why.replaceAll("-", " ") : why;
  return [el("abbr", { class: "none", title: said }, "–"), el("span", { class: "vh" }, ` (${said})`)];
};
const COLUMNS = new Map(Object.entries({
  config: { key: (i) => config(i).label },
  value: { key: value, n: true, down: true },
  rank: { key: rank, n: true },
  skill: numeric(col("skill"), 2),
  weighted: numeric(col("weighted"), 3),
  model: plain((i) => model(i).title),
  task: plain((i) => task(i).title),
  metric: plain(metric),
  reference: plain(reference),
  position: { n: true },
  floor: numeric(col("floor"), 2),
  ceiling: numeric(col("ceiling"), 2),
  n: numeric(n, 0),
  seconds: { key: seconds, n: true, cell: (i) => cost(seconds(i)) },
  date: { key: date, down: true },
  family: plain((i) => config(i).family),
  dataset: plain((i) => task(i).dataset),
  clusters: numeric(clusters, 0),
  disattenuated: numeric(col("disattenuated"), 2),
  passes: { key: passes, n: true, cell: (i) => cost(passes(i)) },
  memory: numeric(memory, 0),
  device: plain(perRun("device")),
  status: plain(perRun("status")),
  checked: plain(checked),
  reason: plain(reason),
  row: { key: rowName },
}));
const chooser = document.getElementById("columns");
for (const { value: name, parentElement: { textContent, title } } of chooser.querySelectorAll("input")) {
  Object.assign(COLUMNS.get(name), { label: textContent.trim(), hint: title || null });
}
const DEFAULT = [...table.tHead.rows[0].cells].map((cell) => cell.dataset.col);

function cell(name, i, position) {
  const column = COLUMNS.get(name);
  if (name === "config") {
    const c = config(i);
    const link = el("a", { class: "cfg", href: `methods/${c.page}.html` }, el("i", { class: "m m-" + c.family }), bdi(c.label));
    return el("th", { scope: "row" }, tick(slugOf(i), c.label), link, ...(checked(i) === "self-reported" ? [] : [" ", el("small", { class: "tag" }, checked(i))]));
  }
  const td = el("td", column.n ? { class: "n" } : null);
  if (name === "value") {
    if (value(i) === null) td.append(...none(reason(i)));
    else td.append(el("span", { "data-f": "value" }, number(value(i), 3)), ...XB.range(low(i), high(i)));
  } else if (name === "rank") {
    if (rank(i) === null) td.append(...none(rankReason(i)));
    else {
      td.append(String(rank(i)));
      if (rank(i) !== rankHigh(i)) td.append(" ", el("small", null, `(${rank(i)}–${rankHigh(i)})`));
    }
  } else if (name === "position") td.append(String(position));
  else if (name === "date") td.append(el("a", { href: `runs/${submission(i)}.html` }, date(i)));
  else if (name === "row") td.append(el("a", { href: "#" + new URLSearchParams({ row: rowName(i) }) }, bdi(rowName(i))));
  else td.append(column.cell(i));
  return td;
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
// A test on a coded column looks at each distinct text once.
const codes = (column, accepts) => {
  const good = column.dict.map(accepts);
  return (index) => index >= 0 && good[index];
};
const cfg = new Map(Object.entries(names.configs));

function tests() {
  const found = [];
  const on = (column, key, text, at) => {
    if (!state.has(key)) return;
    const ok = codes(column, (one) => text(one) === state.get(key));
    found.push((i) => ok(column.ix[at(i)]));
  };
  const same = (one) => one;
  for (const [key, fact] of [["method", "page"], ["family", "family"]]) on(data.runs.config, key, (slug) => cfg.get(slug)[fact], (i) => runOf[i]);
  for (const name of ["model", "task", "status"]) on(data.runs[name], name, same, (i) => runOf[i]);
  for (const name of ["metric", "reference"]) on(data.cols[name], name, same, same);
  if (state.has("min")) { const least = Number(state.get("min")); found.push((i) => n(i) >= least); }
  if (state.has("row")) found.push((i) => rowName(i) === state.get("row"));
  for (const word of (state.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean)) {
    const has = (text) => text.toLowerCase().includes(word);
    const slots = [
      ["config", (slug) => has(cfg.get(slug).label)], ["model", (slug) => has(names.models[slug].title)],
      ["task", (slug) => has(names.tasks[slug].title)],
    ].map(([name, accepts]) => [data.runs[name].ix, codes(data.runs[name], accepts)]);
    const runs = Uint8Array.from(data.runs.id.v, (_, r) => slots.some(([ix, ok]) => ok(ix[r])));
    const rows = ["metric", "reference"].map((name) => [data.cols[name].ix, codes(data.cols[name], has)]);
    found.push((i) => runs[runOf[i]] || rows.some(([ix, ok]) => ok(ix[i])));
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
function head(shown) {
  return el("tr", null, ...shown.map((name) => {
    const { label, n: isNumber, hint } = COLUMNS.get(name);
    const content = COLUMNS.get(name).key
      ? el("button", { type: "button", "data-sort": name, title: hint }, label)
      : el("abbr", { title: hint, tabindex: 0 }, label);
    return el("th", { scope: "col", "data-col": name, class: isNumber ? "n" : null }, content);
  }));
}

// The head is only made anew for other columns, so that a pressed button keeps the focus.
let headed = "";
function mark(shown) {
  if (headed !== shown.join()) table.tHead.replaceChildren(head(shown));
  headed = shown.join();
  const sort = state.get("sort") || "";
  for (const cell of table.tHead.rows[0].cells) {
    if (cell.dataset.col === sort.replace("-", "")) cell.setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
}

// What is in sight is drawn at once, other rows after the frame that shows it; from: first row to make.
const body = table.tBodies[0];
let turn = 0;
function fill(part, first, shown, from) {
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
    after(start + size);
  };
  const after = (start) => {
    body.setAttribute("aria-busy", String(start < part.length));
    if (start < part.length) requestAnimationFrame(() => setTimeout(step, 0, start, 500));
  };
  for (let r = 0; r < from; r++) bar(body.rows[r], part[r]);
  if (from) after(from); else step(0, Math.ceil(innerHeight / 28));
}

const PLAIN = [DEFAULT, 0, Math.min(PAGE, total), ""].join("|");   // what Python wrote, or the first rows of it
let drawn = null;
function draw() {
  const shown = columns();
  const all = state.get("rows") === "all";
  const size = all ? view.length : PAGE;
  const pages = Math.ceil(view.length / size) || 1;
  const page = Math.min(Math.max(parseInt(state.get("page")) || 1, 1), pages);
  const from = (page - 1) * size;
  const part = view.slice(from, from + size);
  const next = [shown, from, part.length, [...state].filter(([key]) => [...FIELDS, "row", "sort"].includes(key))].join("|");
  mark(shown);
  if (next !== drawn) fill(part, from, shown, drawn === null && next === PLAIN ? body.querySelectorAll("[data-row]").length : 0);
  drawn = next;
  ticks();
  paging(page, pages, all, from, part.length);
}

const whole = (n) => n.toLocaleString("en");
const pager = document.getElementById("pages");
function paging(page, pages, all, from, size) {
  const go = (label, changes, off) => button(label, () => { change(changes); table.parentElement.scrollTo(0, 0); }, { disabled: off });
  const parts = [];
  if (pages > 1) {
    parts.push(go("First", { page: "" }, page === 1), go("Previous", { page: page === 2 ? "" : String(page - 1) }, page === 1),
      el("span", null, `page ${page} of ${whole(pages)}`),
      go("Next", { page: String(page + 1) }, page === pages), go("Last", { page: String(pages) }, page === pages));
  }
  if (all) parts.push(go(`Show ${PAGE} at a time`, { rows: "" }));
  else if (view.length > PAGE) parts.push(go(`Show all ${whole(view.length)}`, { rows: "all" }));
  const focused = pager.contains(document.activeElement) ? document.activeElement.textContent : null;
  pager.replaceChildren(...parts);
  if (focused) ([...pager.children].find((b) => b.textContent === focused && !b.disabled) || pager.querySelector("button:not(:disabled)"))?.focus();
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
