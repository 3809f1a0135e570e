// One utterance to look into and listen to: spectrogram, the chosen token's relevance on it, one band per explanation.
"use strict";
(function () {
const { el, svg, number, save, csvCell, button } = XB;
const { shownText, rows, bytes, levels, valueAt, scaled, STOPS, paint, shade, canvas, track, band, gap, whole } = XB.bands;
const host = document.getElementById("viewer");
const bundle = host && XB.get("ex/" + host.dataset.example);
if (!bundle) return;
const audio = document.getElementById("audio");
const { tokens, spectrogram } = bundle;

const length = bundle.seconds || 1;
const rank = { reference: 0, method: 1, control: 2 };
const maps = bundle.maps.sort((a, b) => rank[a.kind] - rank[b.kind]);
const mapOf = (id) => maps.find((map) => map.id === id);
const within = (x, n) => Math.min(Math.max(x, 0), n - 1);

// -- controls
const option = (value, text = value) => el("option", { value }, text);
const select = (name, ...options) => el("select", { name }, ...options);
const overlaid = select("over");
const palette = select("colours", ...Object.keys(STOPS).map((name) => option(name)));
const minus = select("minus", option("", "nothing"));
const scale = select("scale", option("robust", "per token, peaks cut"), option("token", "per token"), option("map", "whole map"));
const path = select("path", option("shown"), option("hidden"));
const zoom = select("zoom", ...[1, 2, 4, 8].map((x) => option(x, `${x} ×`)));
const speed = select("speed", ...[1, 0.75, 0.5].map((x) => option(x, `${x} ×`)));
const again = select("repeat", option("", "once"), option("on", "over and over"));
const strength = el("input", { name: "strength", type: "range", min: 0, max: 100, value: 75 });
const play = button("Play this segment");
const label = (text, control) => el("label", null, text + " ", control);
const controls = el("form", { class: "filters", "aria-label": "How to show the maps" },
  label("Over the spectrogram", overlaid), label("Minus", minus), label("Strength", strength), label("Colours", palette), label("Scale", scale), label("Path", path), label("Zoom", zoom), ...(audio ? [label("Speed", speed), label("Segment", again), play] : []));
controls.addEventListener("submit", (event) => event.preventDefault());

// -- tokens
let chosen = Math.max(0, tokens.findIndex((token) => token.content));
const chips = tokens.map((token, t) => button(el("bdi", null, shownText(token)), () => choose(t), { class: token.content ? "chip" : "chip special", tabindex: t === chosen ? 0 : -1 }));
const strip = el("div", { class: "chips", role: "group", "aria-label": "Tokens of the hypothesis; arrow keys move" }, ...chips);
strip.addEventListener("keydown", (event) => {
  const next = { ArrowRight: chosen + 1, ArrowLeft: chosen - 1, Home: 0, End: tokens.length - 1 }[event.key];
  if (next === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  choose(within(next, tokens.length));
  chips[chosen].focus();
});
const live = el("p", { class: "note live", role: "status" });

// -- tracks
const tracks = el("div", { class: "tracks", tabindex: 0, role: "region", "aria-label": "Maps over time" });
const head = el("i", { class: "playhead" });

const [outline, packed] = bundle.outline;
const peaks = bytes(packed);
const wave = canvas("wave", outline + " over time");
const sound = canvas("sound", "Spectrogram, low frequencies below");
const over = el("canvas", { class: "over", "aria-hidden": "true" });
const bands = new Map();
const area = el("div", { class: "areas" });

function drawWave() {
  wave.width = peaks.length;
  wave.height = 64;
  const context = wave.getContext("2d");
  context.fillStyle = getComputedStyle(live).color;
  peaks.forEach((peak, x) => { const half = Math.max(0.5, peak * 32 / 255); context.fillRect(x, 32 - half, 1, 2 * half); });
}
function drawSound() {
  const [columns, mel] = spectrogram.shape;
  const data = levels(spectrogram);
  shade(sound, columns, mel, "grey", (x, y) => data[x * mel + mel - 1 - y]);
}
const cells = (id) => bundle.volumes.find((one) => one.map === id);
// The chosen token's relevance in orange: opaque where it is large.
function drawOver() {
  const map = mapOf(overlaid.value);
  if (!map?.data) return;   // its file is on the way
  const most = 255 * strength.value / 100;
  const tint = (pixels, at, level) => {
    pixels[at] = 213; pixels[at + 1] = 94; pixels[at + 2] = 0; pixels[at + 3] = most * level / 255;
  };
  const volume = cells(map.id);
  if (volume?.data) {
    const [, high, wide] = volume.shape;
    const data = levels(volume).subarray(chosen * high * wide, (chosen + 1) * high * wide);
    paint(over, wide, high, (pixels, at, x, y) => tint(pixels, at, data[(high - 1 - y) * wide + x]));
    return;
  }
  const row = scaled(map, chosen, scale.value);
  paint(over, row.length, 1, (pixels, at, x) => tint(pixels, at, row[x]));
}
// The difference is a band of its own; it has no values to read, only a sign.
const difference = { id: "", shape: maps[0].shape };
function drawBand(map) {
  const { canvas: one, figure } = bands.get(map);
  if (map !== difference) { band(one, map, palette.value, scale.value); return; }
  const [a, b] = [overlaid, minus].map((box) => mapOf(box.value));
  gap(one, a, b, scale.value);
  figure.firstChild.replaceChildren(el("bdi", null, a.label), " − ", el("bdi", null, b.label));
}
const reference = maps[0].kind === "reference" ? maps[0] : {};
const weak = (t) => (reference.beside?.[t] ?? 1) < 0.5;
const at = (made, left, width) => {
  made.style.left = `${100 * left}%`;
  if (width) made.style.width = `${100 * width}%`;
  return made;
};
// Where each token begins on the cheapest path: to the right within a token, down to the next.
function stairs({ path: starts, shape: [rows, frames] }) {
  if (!starts) return [];
  const points = starts.flatMap((f, t) => [f, starts[t + 1] ?? frames].map((x) => `${x},${t + 0.5}`));
  return [svg("svg", { class: "path", viewBox: `0 0 ${frames} ${rows}`, preserveAspectRatio: "none", "aria-hidden": "true" }, svg("polyline", { points: points.join(" ") }))];
}
function addBand(map) {
  const mark = el("i", { class: "row" });
  const names = rows(tokens, (t) => [weak(t) && "weak", map.beside?.[t] == null ? "" : number(map.beside[t])]);
  const one = canvas("band");
  const kind = map.kind === "method" ? [] : [" ", el("small", { class: "tag" }, map.kind)];
  const figure = track([el("bdi", null, map.label), ...kind], "maps", [one, ...stairs(map), mark, ...(map.sinks || []).map((f) => at(el("i", { class: "sink" }), (f + 0.5) / map.shape[1]))], names);
  one.tabIndex = 0;
  one.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] || [];
    if (down === undefined || map === difference) return;
    event.preventDefault();
    if (down) choose(within(chosen + down, tokens.length));
    frame = within(frame + right, map.shape[1]);
    read(map, chosen, frame);
  });
  bands.set(map, { mark, names, canvas: one, figure });
  const [high, frames] = map.shape;
  const spot = (event) => {
    const box = one.getBoundingClientRect();
    return [within(Math.floor((event.clientY - box.top) / box.height * high), high), within(Math.floor((event.clientX - box.left) / box.width * frames), frames)];
  };
  one.addEventListener("click", (event) => choose(spot(event)[0]));
  one.addEventListener("pointermove", (event) => { if (map !== difference) read(map, ...spot(event)); });
}
// Values that did not come with the page are loaded before anything is drawn.
let turn = 0;
async function arrange() {
  const mine = ++turn;
  const shown = shownMaps();
  try {
    await Promise.all([...shown, mapOf(overlaid.value), mapOf(minus.value), cells(overlaid.value)].map(whole));
  } catch (problem) {
    return failed(problem);
  }
  if (mine !== turn) return;   // another choice came meanwhile
  if (minus.value) shown.push(difference);
  for (const map of shown) if (!bands.has(map)) addBand(map);
  for (const map of shown) drawBand(map);
  area.replaceChildren(...shown.map((map) => bands.get(map).figure));
  markRows();
  drawOver();
}
function markRows() {
  for (const [map, { mark, names }] of bands) {
    [...names.children].forEach((name, t) => name.classList.toggle("on", t === chosen));
    mark.style.top = `${100 * chosen / map.shape[0]}%`;
    mark.style.height = `${100 / map.shape[0]}%`;
  }
}
const boxes = new Map();
const shownMaps = () => maps.filter((map) => boxes.get(map).checked);
const list = el("fieldset", null, el("legend", { class: "vh" }, "Explanations to show"));
const picker = el("details", { class: "chooser" }, el("summary", { class: "button" }, "Explanations shown"), list);
picker.addEventListener("change", () => { arrange(); write(); });
function offer(map) {
  const box = el("input", { type: "checkbox", checked: !!map.data });
  boxes.set(map, box);
  for (const choice of [overlaid, minus]) choice.append(option(map.id, map.label));
  list.append(el("label", null, box, " ", el("bdi", null, map.label)));
}
maps.forEach(offer);
overlaid.value = (maps.find((map) => map.kind === "method") || maps[0]).id;

// -- single heads: a grid of small pictures, each of which opens its map
const heads = bundle.heads && el("details", null, el("summary", null, "Single heads, a row per layer"));
async function showHead(id) {
  const one = !mapOf(id) && (await XB.load(...bundle.heads)).find((head) => head.id === id);
  if (!one) return;
  const map = await XB.load(...one.file);
  if (mapOf(id)) return;   // asked for twice
  maps.push(map);
  offer(map);
}
async function showGrid() {
  if (heads.children.length > 1) return;
  const grid = el("div", { class: "minis" }, ...(await XB.load(...bundle.heads)).map((one) => {
    const small = el("canvas");
    const [high, wide] = one.shape;
    shade(small, wide, high, "viridis", (x, y) => levels(one)[y * wide + x]);
    const open = () => showHead(one.id).then(() => {
      boxes.get(mapOf(one.id)).checked = true;
      write();
      return arrange();
    }).then(() => {
      bands.get(mapOf(one.id)).figure.scrollIntoView();
    }).catch(failed);
    return el("button", { type: "button", onclick: open }, small, `${one.label}: ${number(one.score)}`);
  }));
  grid.style.setProperty("--heads", bundle.heads[2]);
  heads.append(grid);
}
heads?.addEventListener("toggle", () => showGrid().catch(failed));

const step = [0.5, 1, 2, 5, 10].find((s) => length / s <= 8) || 30;
const axis = el("div", { class: "axis", "aria-hidden": "true" }, ...Array.from({ length: Math.ceil(length / step - .3) || 1 }, (_, k) => {
  return at(el("span", null, `${k * step} s`), k * step / length);
}));

// -- choosing a token
const segment = () => {
  const { start, end } = tokens[chosen];
  return end > start && [start, end];
};
const span = el("i", { class: "segment" });
function choose(t) {
  chips[chosen].tabIndex = -1;
  chosen = t;
  chips.forEach((chip, i) => chip.setAttribute("aria-pressed", String(i === t)));
  chips[t].tabIndex = 0;
  drawOver();
  markRows();
  const part = segment();
  play.disabled = !part;
  span.hidden = !part;
  if (part) at(span, part[0] / length, (part[1] - part[0]) / length);
  write();
  const peaks = shownMaps().filter((map) => map.data && map.max[t] > map.min[t]).map((map) => {
    const row = scaled(map, t, false);
    return [map.label, (row.indexOf(Math.max(...row)) + 0.5) * bundle.frame_seconds];
  });
  look(part[0] ?? peaks[0]?.[1]);
  const told = peaks.map(([label, peak]) => `${label} ${number(peak, 1)} s`).join(", ");
  const where = part ? `, spoken from ${number(part[0])} to ${number(part[1])} s` : "";
  live.replaceChildren(`Token ${t + 1} of ${tokens.length}: `, el("bdi", null, shownText(tokens[t])), where, told ? `. Most relevant moment: ${told}.` : ".");
}

// -- sound
let until = Infinity;
function look(seconds) {
  tracks.scrollLeft = tracks.scrollWidth * seconds / length - tracks.clientWidth / 2;
}
function place() {
  const now = audio?.currentTime ?? 0;
  at(head, Math.min(1, now / length));
  chips.forEach((chip, t) => chip.classList.toggle("now", tokens[t].start <= now && now < tokens[t].end));
  if (audio?.paused === false) look(now);
}
function follow() {
  place();
  if (audio.currentTime >= until) {
    if (again.value && segment()) [audio.currentTime, until] = segment();
    else { audio.pause(); until = Infinity; }
  }
  if (!audio.paused) requestAnimationFrame(follow);
}
if (audio) {
  // A server without byte ranges cannot wind: then the clip is fetched once and played from memory.
  const windable = () => audio.seekable.length > 0 && audio.seekable.end(0) > 0;
  const repair = async () => {
    if (windable() || audio.src.startsWith("blob:") || location.protocol === "file:") return;
    audio.src = URL.createObjectURL(await (await fetch(audio.src)).blob());
  };
  if (audio.readyState > 0) repair(); else audio.addEventListener("loadedmetadata", repair, { once: true });
  audio.addEventListener("play", follow);
  for (const name of ["seeked", "timeupdate", "pause"]) audio.addEventListener(name, place);
  audio.addEventListener("pause", () => { until = Infinity; });
  play.addEventListener("click", () => {
    const part = segment();
    if (!part) return;
    [audio.currentTime, until] = part;
    audio.play();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target.closest("button, input, select, summary, audio, a")) return;
    event.preventDefault();
    if (audio.paused) audio.play(); else audio.pause();
  });
  tracks.addEventListener("click", (event) => {
    const lane = event.target.closest(".lane");
    if (!lane) return;
    const box = lane.getBoundingClientRect();
    audio.currentTime = length * (event.clientX - box.left) / box.width;
  });
}

// What lies over the tracks ends where their labels begin.
tracks.addEventListener("scroll", () => tracks.style.setProperty("--hidden", tracks.scrollLeft + "px"));

// -- everything together
const readout = el("p", { class: "note readout", "aria-live": "polite" });
let frame = 0;
const tell = (...parts) => readout.replaceChildren(...parts);
const failed = (problem) => tell(problem.message + ".");
function read(map, t, f) {
  if (map.min[t] !== null) tell(el("bdi", null, map.label), ", ", el("bdi", null, shownText(tokens[t])), ` at ${number(f * bundle.frame_seconds)} s: ${valueAt(map, t, f).toPrecision(3)}`);
}
function redraw() {
  tracks.style.setProperty("--zoom", zoom.value);
  tracks.dataset.path = path.value;
  if (audio) audio.playbackRate = speed.value;
  shade(key, 256, 1, palette.value, (x) => x);
  place();
  return arrange();
}
controls.addEventListener("input", (event) => { if (event.target === strength) drawOver(); else redraw(); if (event.target === zoom) choose(chosen); write(); });

// -- the view stands in the address
const named = [...controls.elements].filter((box) => box.name);
const usual = named.map((box) => box.value);
const shownIds = () => shownMaps().map((map) => map.id).join();
const [firstToken, firstMaps] = [chosen, shownIds()];
function write() {
  XB.fragment.write(new Map([["token", chosen === firstToken ? "" : chosen], ["maps", shownIds() === firstMaps ? "" : shownIds()],
    ...named.map((box, i) => [box.name, box.value === usual[i] ? "" : box.value])]));
}
async function restore() {
  const given = XB.fragment.read();
  const wanted = (given.get("maps") || firstMaps).split(",");
  if (bundle.heads) for (const id of [...wanted, given.get("over"), given.get("minus")]) if (id?.startsWith("head-")) await showHead(id);
  named.forEach((box, i) => {
    box.value = given.get(box.name) ?? usual[i];
    if (!box.value) box.value = usual[i];
  });
  for (const [map, box] of boxes) box.checked = wanted.includes(map.id);
  await redraw();
  const token = Number(given.get("token") ?? firstToken);
  choose(tokens[token] ? token : firstToken);
  host.dataset.ready = "";
}
addEventListener("hashchange", restore);

// -- taking away what lies over the spectrogram, or everything
const chosenMap = () => mapOf(overlaid.value);
// A cell is four by sixteen points, so that a word is a line that can be seen.
const picture = () => {
  const map = chosenMap();
  if (!bands.has(map)) { addBand(map); drawBand(map); }
  const small = bands.get(map).canvas;
  const context = el("canvas", { width: 4 * small.width, height: 16 * small.height }).getContext("2d");
  context.imageSmoothingEnabled = false;
  context.scale(4, 16);
  context.drawImage(small, 0, 0);
  return context.canvas;
};
const values = (map) => tokens.map((_, t) => Array.from({ length: map.shape[1] }, (_, f) => Number(valueAt(map, t, f).toPrecision(4))));
const times = (map) => values(map)[0].map((_, f) => number(f * bundle.frame_seconds));
const away = [
  ["CSV", () => save([["token", ...times(chosenMap())], ...values(chosenMap()).map((row, t) => [csvCell(tokens[t].text), ...row])].map((line) => line.join() + "\n").join(""), overlaid.value + ".csv", "text/csv")],
  ["JSON", () => save(JSON.stringify({ tokens, frame_seconds: bundle.frame_seconds, values: values(chosenMap()) }), overlaid.value + ".json", "application/json")],
  ["PNG", () => picture().toBlob((blob) => save(blob, overlaid.value + ".png", "image/png"))],
  ["All maps", async () => { await Promise.all([...maps, ...bundle.volumes].map(whole)); save(JSON.stringify(bundle), bundle.id + ".json", "application/json"); }],
];
const key = el("canvas", { class: "key", role: "img", "aria-label": "From the least to the most relevance" });
new MutationObserver(drawWave).observe(document.documentElement, { attributeFilter: ["data-theme"] });

const words = tokens.filter(({ start, end }) => end > start).map(({ start }) => at(el("i", { class: "word" }), start / length));
tracks.append(el("div", { class: "zoomed" }, track([outline], "thin", [wave]), track(["Spectrogram"], "tall-track", [sound, over]), area, axis,
  el("div", { class: "overlay", "aria-hidden": "true" }, ...words, span, head)));
host.append(strip, live, controls, el("p", { class: "bar" }, picker, el("span", { class: "tools" }, "least ", key, " most"), readout), tracks, ...(heads ? [heads] : []),
  el("p", { class: "tools" }, "Download the map over the spectrogram: ", ...away.map(([text, act]) => button(text, act))));
drawWave();
drawSound();
restore();
})();
