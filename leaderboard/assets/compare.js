// Two methods, paired on the same utterances, or two models under the same methods. All figures come from the data.
"use strict";
(function () {
const { el, svg, number, cost, count, reader, button } = XB;
const form = document.getElementById("compare");
const said = document.getElementById("comparison");
const detail = document.getElementById("comparison-detail");
const pair = detail.nextElementSibling;
const names = XB.get("entities");
const data = XB.get("results");
if (!form || !names || !data || form.elements.a.options.length < 2) {
  said.textContent = "Fewer than two methods.";
  return;
}
const columns = (table) => Object.fromEntries(Object.entries(table).map(([name, column]) => [name, reader(column)]));
const [runs, cols] = [data.runs, data.cols].map(columns);
const configs = new Map(Object.entries(names.configs));
const bdi = (slug) => el("bdi", null, configs.get(slug)?.label ?? names.models[slug].title);
const { kind, a: first, b: second } = form.elements;
const OFFERED = {
  methods: [...first.options].map((option) => [option.value, option.text]),
  models: Object.entries(names.models).map(([slug, { title }]) => [slug, title]),
};
const chosen = () => [kind, first, second].map((box) => box.value);
// What stands in the address: the pair, and the section to come to. The link of a section has both.
const address = (at) => new Map([["kind", kind.value === "models" ? "models" : ""], ["a", first.value], ["b", second.value], ["at", at]]);
const here = (at) => el("a", { class: "here", href: "#" + new URLSearchParams([...address(at)].filter(([, value]) => value)), "aria-label": "Link to this section" }, "#");

// Offer methods or models, and choose two. What a link names stays chosen even if it is not on offer: show() says so.
function offer(what, a, b) {
  const slugs = OFFERED[what].map(([slug]) => slug);
  kind.value = what;
  const choose = (box, slug) => {
    const missing = slugs.includes(slug) ? [] : [[slug, slug + " (not found)"]];
    box.replaceChildren(...[...OFFERED[what], ...missing].map(([value, text]) => el("option", { value, selected: value === slug }, text)));
  };
  choose(first, a ?? slugs.find((slug) => slug !== b));
  choose(second, b ?? slugs.find((slug) => slug !== first.value));
}

function readState() {
  const given = XB.fragment.read();
  offer(given.get("kind") === "models" && OFFERED.models.length > 1 ? "models" : "methods", given.get("a"), given.get("b"));
}

// Where the pair was compared on a metric: better, worse, or not told apart, from the point of view of a.
function sections(pairs, b) {
  const read = columns(pairs);
  const found = new Map();
  for (let i = 0; i < pairs.n.v.length; i++) {
    if (read.other(i) !== b) continue;
    const line = Object.fromEntries(Object.entries(read).map(([name, get]) => [name, get(i)]));
    const key = line.metric + "\0" + (line.reference ?? "");
    const gain = (names.metrics[line.metric].higher ? 1 : -1) * line.difference;
    line.outcome = line.p === null ? "undecided" : line.p >= 0.05 ? "tied" : gain > 0 ? "better" : "worse";
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(line);
  }
  return [...found.values()].map((lines) => lines.sort((x, y) => y.difference - x.difference));
}

// Scores of a config by task, model, metric and reference; and its cost by task and model.
function scoresOf(slug) {
  const values = new Map();
  const costs = new Map();
  for (let i = 0; i < data.n; i++) {
    const r = cols.run(i);
    if (runs.config(r) !== slug || cols.rank_reason(i) === "superseded") continue;
    const where = runs.task(r) + "\0" + runs.model(r);
    if (cols.value(i) !== null) values.set([where, cols.metric(i), cols.reference(i) ?? ""].join("\0"), [cols.value(i), cols.weighted(i) ?? NaN]);
    if (runs.seconds(r) > 0) costs.set(where + "\0" + runs.device(r), runs.seconds(r));
  }
  return { values, costs };
}

function sentence(lines, a, b) {
  const n = (outcome) => lines.filter((line) => line.outcome === outcome).length;
  const undecided = n("undecided");
  const few = undecided ? `; ${undecided} with too few speakers to decide` : "";
  return [bdi(a), " is better than ", bdi(b), ` on ${n("better")}, worse on ${n("worse")}, not distinguished on ${n("tied")} of ${count(lines.length, "model-task pair")}${few}.`];
}

const title = (line) => [el("bdi", null, names.tasks[line.task].title), ", ", el("bdi", null, names.models[line.model].title)];

function plot(lines, a, b) {
  let [least, most] = [0, 0];
  for (const { difference, low, high } of lines) {
    least = Math.min(least, low ?? difference);
    most = Math.max(most, high ?? difference);
  }
  const margin = (most - least || 1) * 0.06;
  const percent = (x) => `${(100 * (x - least + margin) / (most - least + 2 * margin)).toFixed(2)}%`;
  const picture = ({ difference, low, high, outcome }) => svg("svg", { class: "fl", "aria-hidden": "true" },
    svg("line", { class: "zero", x1: percent(0), x2: percent(0), y1: "0", y2: "100%" }),
    svg("g", { class: "d-" + outcome },
      ...(low === null ? [] : [svg("line", { x1: percent(low), x2: percent(high), y1: "50%", y2: "50%" })]),
      svg("circle", { cx: percent(difference), cy: "50%", r: 5 })));
  const word = (outcome) => (outcome === "tied" ? "not distinguished" : outcome);
  const caption = `Paired differences, ${configs.get(a).label} minus ${configs.get(b).label}, largest first`;
  return el("div", { class: "scroll", role: "region", "aria-label": caption + ": " + lines[0].metric, tabindex: 0 },
    el("table", { class: "forest pairs" }, el("caption", null, caption),
      el("thead", null, el("tr", null, el("th", { scope: "col" }, "Task, model"),
        el("th", { scope: "col", class: "plot" }, el("span", { class: "vh" }, "Difference with interval")),
        el("th", { scope: "col", class: "n v-diff" }, "Difference ", el("small", null, "[95 %]")),
        ...[["p", "p, adj."], ["effect", "By effect"], ["n", "n"]].map(([help, name]) => el("th", { scope: "col", class: "n wide" }, button(name, null, { class: "term", popovertarget: "help-" + help, popovertargetaction: "show" }))), el("th", { scope: "col", class: "wide" }, "First is"))),
      el("tbody", null, ...lines.map((line) => el("tr", null, el("th", { scope: "row" }, ...title(line)),
        el("td", { class: "plot" }, picture(line)),
        el("td", { class: "n" }, number(line.difference, 3), ...XB.range(line.low, line.high), el("small", { class: "narrow" }, word(line.outcome))),
        ...[line.p !== null && line.p < 0.001 ? "< 0.001" : number(line.p, 3), number(line.effect, 3), number(line.n, 0)].map((text) => el("td", { class: "n wide" }, text)), el("td", { class: "wide d-" + line.outcome }, word(line.outcome)))))));
}

function scatter(points, a, b, what) {
  if (points.length < 2) return [];
  const all = points.flatMap(({ x, y }) => [x, y]);
  const span = Math.max(...all) - Math.min(...all) || 0.1;
  const [least, most] = [Math.min(...all) - 0.08 * span, Math.max(...all) + 0.08 * span];
  const X = (value) => (40 + 250 * (value - least) / (most - least)).toFixed(1);
  const Y = (value) => (260 - 250 * (value - least) / (most - least)).toFixed(1);
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5].find((s) => 7 * s > span) ?? span / 4;
  const ticks = Array.from({ length: Math.floor((most - least) / step) }, (_, k) => (Math.ceil(least / step) + k) * step);
  const figure = svg("svg", { class: "scatter", viewBox: "0 0 300 300", role: "img", "aria-label": count(points.length, "point") },
    ...ticks.flatMap((v) => [
      svg("line", { class: "grid", x1: 40, x2: 290, y1: Y(v), y2: Y(v) }), svg("line", { class: "grid", x1: X(v), x2: X(v), y1: 10, y2: 260 }),
      svg("text", { class: "ylab", x: 35, y: Y(v), dy: 4 }, number(v)), svg("text", { class: "xlab", x: X(v), y: 276 }, number(v))]),
    svg("line", { class: "zero", x1: X(least), y1: Y(least), x2: X(most), y2: Y(most) }),
    ...points.map(({ of, outcome, x, y }) => svg("g", { class: "d-" + outcome }, svg("circle", { cx: X(x), cy: Y(y), r: 4.5 }),
      svg("title", {}, `${of}: ${number(y, 3)} against ${number(x, 3)}`))));
  return [el("figure", { class: "chart" }, figure, el("figcaption", null, "Upwards ", bdi(a), ", to the right ", bdi(b), `. Above the diagonal the first has the larger ${what}.`))];
}

function price(a, b, of) {
  const both = [...of.a.costs.keys()].filter((where) => of.b.costs.has(where));
  if (!both.length) return "No cost of both on one device.";
  const ratios = both.map((where) => of.a.costs.get(where) / of.b.costs.get(where)).sort((x, y) => x - y);
  const half = (ratios.length - 1) / 2;
  const middle = (ratios[Math.floor(half)] + ratios[Math.ceil(half)]) / 2;
  const range = ratios.length > 1 ? ` (from ${cost(ratios[0])} to ${cost(ratios.at(-1))})` : "";
  return `The first takes ${cost(middle)} times as long: the median over ${count(both.length, "model-task pair")}${range}.`;
}

async function showMethods(a, b, current) {
  let pairs;
  try { pairs = await XB.load("pairs/" + a); } catch (problem) { said.textContent = problem.message + "."; return; }
  if (!current()) return;   // another choice came meanwhile
  const found = pairs ? sections(pairs, b) : [];
  if (!found.length) {
    said.textContent = "Never scored on the same utterances.";
    return;
  }
  const of = { a: scoresOf(a), b: scoresOf(b) };
  const verdicts = found.map((lines) => el("p", null, ...(found.length > 1 ? [el("bdi", null, lines[0].metric), ": "] : []), ...sentence(lines, a, b)));
  said.replaceChildren(...verdicts, el("p", { class: "note" }, price(a, b, of)));
  for (const lines of found) {
    const { metric, reference } = lines[0];
    const [better, side] = names.metrics[metric].higher ? ["Higher", "right"] : ["Lower", "left"];
    const points = lines.map((line) => {
      const key = [line.task, line.model, line.metric, line.reference ?? ""].join("\0");
      const [[x, one], [y, other]] = [of.b, of.a].map(({ values }) => values.get(key) ?? []);
      line.effect = other - one;
      return { of: `${names.tasks[line.task].title}, ${names.models[line.model].title}`, outcome: line.outcome, x, y };
    }).filter(({ x, y }) => x !== undefined && y !== undefined);
    detail.append(section(metric, reference,
      el("p", null, `${better} is better: to the ${side} of the dashed line the first leads.`),
      plot(lines, a, b), ...scatter(points, a, b, "score")));
  }
  examples(a, b, current);
}
// A metric of word times is held against no reference, whichever lay beside it.
const named = (metric, reference) => (!reference || names.metrics[metric]?.timed ? metric : metric + " against " + reference);
function section(metric, reference, ...content) {
  const name = named(metric, reference);
  const id = "by-" + name.replaceAll(" ", "-");
  return el("section", { id }, el("h2", null, el("bdi", null, name), here(id)), ...content);
}

// One utterance under both methods: the maps, and where they differ.
function examples(a, b, current) {
  const both = names.examples.filter(({ maps }) => maps[a] && maps[b]);
  if (!both.length) return;
  const [title, box, place] = pair.querySelectorAll("h2, select, div");
  title.replaceChildren(title.firstChild, here(pair.id));
  box.replaceChildren(...both.map(({ id, title }) => el("option", { value: id }, title)));
  const draw = async () => {
    const { id, maps } = both[box.selectedIndex];
    const bundle = await XB.load("ex/" + id);
    const { canvas, track, rows, band, gap, whole } = XB.bands;
    const [x, y] = [a, b].map((slug) => bundle.maps.find((map) => map.id === maps[slug]));
    await Promise.all([x, y].map(whole));
    if (!current() || box.value !== id) return;
    const said = (map) => Object.entries(map.scores).filter(([, value]) => value !== null).map(([name, value]) => named(...name.split("@")) + " " + number(value)).join(", ");
    const tracks = [x, y].map((map) => {
      const one = canvas("band");
      band(one, map, "viridis", false);
      return track([el("bdi", null, map.label), " ", el("small", null, said(map))], "maps", [one], rows(bundle.tokens));
    });
    const one = canvas("band");
    gap(one, x, y, false);
    place.replaceChildren(el("p", null, el("bdi", null, bundle.hypothesis), " ", el("a", { href: `examples/${id}.html` }, "Look closer and listen")),
      el("div", { class: "tracks" }, ...tracks, track(["First − second"], "maps", [one], rows(bundle.tokens))));
  };
  box.onchange = draw;
  pair.hidden = false;
  draw();
}

// Two models: the same methods on each. Their references differ, so no difference of scores is tested.
function showModels(a, b) {
  const found = new Map();
  for (let i = 0; i < data.n; i++) {
    const r = cols.run(i);
    const side = [a, b].indexOf(runs.model(r));
    const [slug, metric, reference] = [runs.config(r), cols.metric(i), cols.reference(i)];
    if (side < 0 || cols.value(i) === null || cols.rank_reason(i) === "superseded" || configs.get(slug).head || !names.shown.some(([m, s]) => m === metric && s === reference)) continue;
    const key = [runs.task(r), metric, reference ?? ""].join("\0");
    if (!found.has(key)) found.set(key, { task: runs.task(r), metric, reference, lines: new Map() });
    const { lines } = found.get(key);
    const line = lines.get(slug) || [];
    line[side] = i;
    lines.set(slug, line);
  }
  const sentences = [];
  for (const { task, metric, reference, lines } of found.values()) {
    const both = [...lines].filter(([, [x, y]]) => x >= 0 && y >= 0);
    if (!both.length) continue;
    const leads = (side) => both.filter(([, line]) => cols.rank(line[side]) === 1).map(([slug]) => slug);
    const shared = leads(0).filter((slug) => leads(1).includes(slug));
    const known = leads(0).length && leads(1).length;
    sentences.push(el("p", null, el("bdi", null, names.tasks[task].title), ", ", el("bdi", null, metric), ": ",
      ...(shared.length ? [`${count(shared.length, "method is", "methods are")} among the best on both: `, ...shared.flatMap((slug, i) => [i ? ", " : "", bdi(slug)])] : [known ? "no method leads on both" : "too few speakers to say who leads"]), "."));
    const cell = (i) => el("td", { class: "n" }, number(cols.value(i), 3), ...XB.range(cols.low(i), cols.high(i)));
    const skilled = both.every(([, line]) => line.every((i) => cols.skill(i) !== null));
    const points = both.map(([slug, [x, y]]) => ({ of: configs.get(slug).label, outcome: "tied", ...(skilled ? { x: cols.skill(y), y: cols.skill(x) } : { x: cols.value(y), y: cols.value(x) }) }));
    const label = `Methods on ${names.tasks[task].title}, ${metric}`;
    detail.append(section(metric, reference, el("div", { class: "split" },
      el("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": label }, el("table", { class: "models" }, el("caption", null, label),
        el("thead", null, el("tr", null, el("th", { scope: "col", rowspan: 2 }, "Method"), ...[a, b].map((slug) => el("th", { scope: "colgroup", colspan: 4 }, bdi(slug)))),
          el("tr", null, ...[a, b].flatMap(() => ["Score", "By effect", "Skill", "Rank"]).map((name) => el("th", { scope: "col", class: "n" }, name)))),
        el("tbody", null, ...both.map(([slug, line]) => el("tr", null, el("th", { scope: "row" }, bdi(slug)),
          ...line.flatMap((i) => [cell(i), ...[number(cols.weighted(i), 3), number(cols.skill(i))].map((text) => el("td", { class: "n" }, text)), el("td", { class: cols.rank(i) === 1 ? "n lead" : "n" }, number(cols.rank(i), 0))])))))),
      el("div", null, ...scatter(points, a, b, skilled ? "skill" : "score")))));
  }
  said.replaceChildren(...sentences, el("p", sentences.length ? { class: "note" } : null, sentences.length
    ? "Each model has references of its own: compare skill, not scores. Nothing is tested."
    : "No method was scored on both."));
}

let drawn;
async function show() {
  const [what, a, b] = chosen();
  const asked = chosen().join();
  if (asked !== drawn) await fill(what, a, b, () => asked === chosen().join());
  drawn = asked;
  document.getElementById(XB.fragment.read().get("at"))?.scrollIntoView();
}
function fill(what, a, b, current) {
  detail.replaceChildren();
  pair.hidden = true;
  const missing = [a, b].filter((slug) => !OFFERED[what].some(([known]) => known === slug));
  if (missing.length) said.textContent = `Not among the ${what} on this board: ${missing.join(", ")}. Choose another.`;
  else if (a === b) said.textContent = `Choose two different ${what}.`;
  else if (what === "models") showModels(a, b);
  else return showMethods(a, b, current);
}

const changed = () => {
  XB.fragment.write(address(""), true);
  show();
};
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", (event) => { if (event.target === kind) offer(kind.value); changed(); });
document.getElementById("swap").addEventListener("click", () => {
  offer(kind.value, second.value, first.value);
  changed();
});
const restore = () => { readState(); show(); };
addEventListener("hashchange", restore);
restore();
})();
