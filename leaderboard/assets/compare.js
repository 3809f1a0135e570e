// Two methods, paired on the same utterances. Differences, intervals and adjusted p come from the data.
"use strict";
(function () {
  const { el, svg, number, cost, count, reader } = XB;
  const form = document.getElementById("compare");
  const said = document.getElementById("comparison");
  const detail = document.getElementById("comparison-detail");
  const names = XB.get("entities");
  const data = XB.get("results");
  if (!form || !names || !data || form.elements.a.options.length < 2) {
    said.textContent = "There are fewer than two methods to compare.";
    return;
  }
  const configs = new Map(Object.entries(names.configs));
  const LEVEL = 0.05;
  const bdi = (slug) => el("bdi", null, configs.get(slug).label);
  const offered = (slug) => [...form.elements.a.options].some((o) => o.value === slug);

  function readState() {
    const given = XB.fragment.read();
    const [first, second] = [...form.elements.a.options].map((option) => option.value);
    const a = offered(given.get("a")) ? given.get("a") : first;
    const b = offered(given.get("b")) ? given.get("b") : a === second ? first : second;
    form.elements.a.value = a;
    form.elements.b.value = b;
  }

  // Where the pair was compared on a metric: better, worse, or not told apart, from the point of view of a.
  function sections(pairs, b) {
    const read = Object.fromEntries(Object.keys(pairs).map((name) => [name, reader(pairs[name])]));
    const found = new Map();
    for (let i = 0; i < pairs.n.v.length; i++) {
      if (read.other(i) !== b) continue;
      const line = Object.fromEntries(Object.entries(read).map(([name, get]) => [name, get(i)]));
      const key = line.metric + "\0" + (line.reference ?? "");
      const gain = (names.metrics[line.metric].higher ? 1 : -1) * line.difference;
      line.outcome = line.p === null ? "undecided" : line.p >= LEVEL ? "tied" : gain > 0 ? "better" : "worse";
      if (!found.has(key)) found.set(key, []);
      found.get(key).push(line);
    }
    for (const lines of found.values()) lines.sort((x, y) => y.difference - x.difference);
    return [...found.values()];
  }

  // Scores of a config by task, model, metric and reference; and its cost by task and model.
  function scoresOf(slug) {
    const values = new Map();
    const costs = new Map();
    const column = (table, name) => reader(data[table][name]);
    const [config, task, model, seconds] = ["config", "task", "model", "seconds"].map((name) => column("runs", name));
    const [run, metric, reference, value] = ["run", "metric", "reference", "value"].map((name) => column("cols", name));
    for (let i = 0; i < data.n; i++) {
      const r = run(i);
      if (config(r) !== slug) continue;
      const where = task(r) + "\0" + model(r);
      if (value(i) !== null) values.set([where, metric(i), reference(i) ?? ""].join("\0"), value(i));
      if (seconds(r) > 0) costs.set(where, seconds(r));
    }
    return { values, costs };
  }

  function sentence(lines, a, b) {
    const n = (outcome) => lines.filter((line) => line.outcome === outcome).length;
    const undecided = n("undecided");
    const parts = [bdi(a), ` is better on ${n("better")}, not distinguished on ${n("tied")}, worse on ${n("worse")} of ${count(lines.length, "model-task pair")}`];
    if (undecided) parts.push(`; ${undecided} cannot be decided, for want of clusters`);
    return [...parts, ", compared with ", bdi(b), "."];
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
    const words = { better: "better", worse: "worse", tied: "not distinguished", undecided: "undecided" };
    const caption = `Paired differences, ${configs.get(a).label} minus ${configs.get(b).label}, largest first`;
    return el("div", { class: "scroll", role: "region", "aria-label": `Paired differences, ${lines[0].metric} ${lines[0].reference ?? ""}`, tabindex: 0 },
      el("table", { class: "forest pairs" }, el("caption", null, caption),
        el("thead", null, el("tr", null, el("th", { scope: "col" }, "Task, model"),
          el("th", { scope: "col", class: "plot" }, el("span", { class: "vh" }, "Picture: difference with interval; dashed line at 0")),
          el("th", { scope: "col", class: "n" }, "Difference ", el("small", null, "[95 %]")), el("th", { scope: "col", class: "n wide" }, "p, adjusted"),
          el("th", { scope: "col", class: "n wide" }, "n"), el("th", { scope: "col", class: "wide" }, "First is"))),
        el("tbody", null, ...lines.map((line) => el("tr", null, el("th", { scope: "row" }, ...title(line)),
          el("td", { class: "plot" }, picture(line)),
          el("td", { class: "n" }, number(line.difference, 3), ...(line.low === null ? [] : [" ", el("small", { class: "ci" }, `[${number(line.low)}, ${number(line.high)}]`)]), el("small", { class: "narrow" }, words[line.outcome])),
          el("td", { class: "n wide" }, line.p === null ? "–" : line.p < 0.001 ? "< 0.001" : number(line.p, 3)),
          el("td", { class: "n wide" }, String(line.n)), el("td", { class: "wide d-" + line.outcome }, words[line.outcome]))))));
  }

  function scatter(lines, a, b, of) {
    const points = lines.map((line) => {
      const key = [line.task, line.model, line.metric, line.reference ?? ""].join("\0");
      return { line, x: of.b.values.get(key), y: of.a.values.get(key) };
    }).filter(({ x, y }) => x !== undefined && y !== undefined);
    if (!points.length) return [];
    const all = points.flatMap(({ x, y }) => [x, y]);
    const span = Math.max(...all) - Math.min(...all) || 0.1;
    const [least, most] = [Math.min(...all) - 0.08 * span, Math.max(...all) + 0.08 * span];
    const X = (value) => (40 + 250 * (value - least) / (most - least)).toFixed(1);
    const Y = (value) => (260 - 250 * (value - least) / (most - least)).toFixed(1);
    const ticks = [0, 1, 2, 3].map((k) => least + (most - least) * (k + 0.5) / 4);
    const text = `${points.length} points; above the diagonal ${configs.get(a).label} has the larger score`;
    const figure = svg("svg", { class: "scatter", viewBox: "0 0 300 300", role: "img", "aria-label": text },
      ...ticks.flatMap((v) => [
        svg("line", { class: "grid", x1: 40, x2: 290, y1: Y(v), y2: Y(v) }), svg("line", { class: "grid", x1: X(v), x2: X(v), y1: 10, y2: 260 }),
        svg("text", { class: "ylab", x: 35, y: Y(v), dy: 4 }, number(v)), svg("text", { class: "xlab", x: X(v), y: 276 }, number(v))]),
      svg("line", { class: "zero", x1: X(least), y1: Y(least), x2: X(most), y2: Y(most) }),
      ...points.map(({ line, x, y }) => svg("g", { class: "d-" + line.outcome }, svg("circle", { cx: X(x), cy: Y(y), r: 4.5 }),
        svg("title", {}, `${names.tasks[line.task].title}, ${names.models[line.model].title}: ${number(y, 3)} against ${number(x, 3)}`))));
    return [el("figure", { class: "chart" }, figure, el("figcaption", null, "Upwards ", bdi(a), ", to the right ", bdi(b), ". Above the diagonal the first has the larger score."))];
  }

  function price(a, b, of) {
    const both = [...of.a.costs.keys()].filter((where) => of.b.costs.has(where));
    if (!both.length) return "No cost of both is recorded on the same model and task.";
    const ratios = both.map((where) => of.a.costs.get(where) / of.b.costs.get(where)).sort((x, y) => x - y);
    const middle = (ratios[Math.floor((ratios.length - 1) / 2)] + ratios[Math.ceil((ratios.length - 1) / 2)]) / 2;
    const range = ratios.length > 1 ? ` (from ${cost(ratios[0])} to ${cost(ratios.at(-1))})` : "";
    return `The first takes ${cost(middle)} times the seconds of the second: the median over ${count(both.length, "model-task pair")}${range}.`;
  }

  async function show() {
    const [a, b] = [form.elements.a.value, form.elements.b.value];
    const asked = a + " " + b;
    detail.replaceChildren();
    if (a === b) { said.textContent = "Choose two different methods."; return; }
    let pairs;
    try { pairs = await XB.load("pairs/" + a); } catch (problem) { said.textContent = problem.message + "."; return; }
    if (asked !== form.elements.a.value + " " + form.elements.b.value) return;   // another choice came meanwhile
    const found = pairs ? sections(pairs, b) : [];
    if (!found.length) {
      said.textContent = "These two were never scored on the same task, model, metric and utterances.";
      return;
    }
    const of = { a: scoresOf(a), b: scoresOf(b) };
    const verdicts = found.map((lines) => el("p", null, ...(found.length > 1 ? [el("bdi", null, lines[0].metric), ": "] : []), ...sentence(lines, a, b)));
    said.replaceChildren(...verdicts, el("p", { class: "note" }, price(a, b, of)));
    for (const lines of found) {
      const { metric, reference } = lines[0];
      const direction = names.metrics[metric].higher ? "Higher is better: to the right of the dashed line the first is ahead." : "Lower is better: to the left of the dashed line the first is ahead.";
      detail.append(el("section", null, el("h2", null, el("bdi", null, metric), ...(reference === null ? [] : [" against ", el("bdi", null, reference)])),
        el("p", null, direction + ` A pair counts as better or worse where the adjusted p is below ${LEVEL}.`),
        el("div", { class: "split" }, el("div", null, plot(lines, a, b)), el("div", null, ...scatter(lines, a, b, of)))));
    }
  }

  const changed = () => {
    XB.fragment.write(new Map([["a", form.elements.a.value], ["b", form.elements.b.value]]), true);
    show();
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", changed);
  document.getElementById("swap").addEventListener("click", () => {
    [form.elements.a.value, form.elements.b.value] = [form.elements.b.value, form.elements.a.value];
    changed();
  });
  const restore = () => { readState(); show(); };
  addEventListener("hashchange", restore);
  restore();
})();
