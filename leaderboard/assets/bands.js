// Maps as pictures, tokens downwards, time to the right: what the viewer and the comparison share.
"use strict";
XB.bands = (function () {
const { el } = XB;
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const decoded = new Map();
const levels = (thing) => {
  if (!decoded.has(thing)) decoded.set(thing, bytes(thing.data));
  return decoded.get(thing);
};

// A map's values came with the page, or lie in a file of their own.
const whole = async (map) => { if (map?.file) { Object.assign(map, await XB.load(...map.file)); delete map.file; } };

// What a token's relevance is at a frame, and its part of the scale: its own, or that of the whole map.
const valueAt = (map, t, f) => map.min[t] + (map.max[t] - map.min[t]) * levels(map)[t * map.shape[1] + f] / 255;
function scaled(map, t, scale) {
  const width = map.shape[1];
  const row = levels(map).subarray(t * width, (t + 1) * width);
  if (scale !== "map" && map.max[t] <= map.min[t]) return new Uint8Array(width);
  if (scale === "robust") {   // the brightest hundredth of the frames alike, so that a sink does not leave all else dark
    const top = row.slice().sort()[Math.floor(.99 * (width - 1))] || 255;
    return row.map((level) => Math.min(255, 255 * level / top));
  }
  if (scale !== "map") return row;
  const known = map.min.filter((x) => x !== null);
  const [least, most] = [Math.min(...known), Math.max(...map.max.filter((x) => x !== null))];
  return row.map((_, f) => Math.round(255 * (valueAt(map, t, f) - least) / (most - least || 1)));
}

const STOPS = {
  viridis: [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]],
  grey: [[255, 255, 255], [0, 0, 0]],
};
function ramp(name) {
  const stops = STOPS[name];
  const made = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (stops.length - 1);
    const k = Math.min(Math.floor(at), stops.length - 2);
    for (let c = 0; c < 3; c++) made[3 * i + c] = stops[k][c] + (at - k) * (stops[k + 1][c] - stops[k][c]);
  }
  return made;
}
function paint(canvas, width, height, pixel) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) pixel(image.data, 4 * (y * width + x), x, y);
  canvas.getContext("2d").putImageData(image, 0, 0);
}
// Paint levels of 0 to 255 in the colours of a palette.
function shade(canvas, width, height, palette, level) {
  const colours = ramp(palette);
  paint(canvas, width, height, (pixels, at, x, y) => {
    const from = 3 * level(x, y);
    for (let c = 0; c < 3; c++) pixels[at + c] = colours[from + c];
    pixels[at + 3] = 255;
  });
}

// A token as readers know it, and the tokens beside a map: of each its class and what stands after it.
const shownText = ({ text }) => text.replaceAll("▁", " ").trim() || "␣";
const rows = (tokens, more = () => []) => el("ol", { class: "rows", "aria-hidden": "true" }, ...tokens.map((token, t) => {
  const [mark, said] = more(t);
  return el("li", { class: mark || null }, shownText(token), " ", el("small", null, said || ""));
}));
const track = (name, kind, lane, ...beside) => el("figure", { class: "track " + kind }, el("figcaption", null, ...name), ...beside, el("div", { class: "lane" }, ...lane));
const canvas = (kind, text) => el("canvas", { class: kind, role: "img", "aria-label": text });
const tell = (one, map, said) => {
  one.style.setProperty("--rows", map.shape[0]);
  one.setAttribute("aria-label", said);
};

function band(one, map, palette, scale) {
  const lines = Array.from({ length: map.shape[0] }, (_, t) => scaled(map, t, scale));
  shade(one, map.shape[1], map.shape[0], palette, (x, y) => lines[y][x]);
  tell(one, map, `Relevance by ${map.label}: tokens downwards, time to the right`);
}
// One map minus another on their scales: orange where the first is larger, blue where the second is.
function gap(one, a, b, scale) {
  const lines = Array.from({ length: a.shape[0] }, (_, t) => [scaled(a, t, scale), scaled(b, t, scale)]);
  paint(one, a.shape[1], a.shape[0], (pixels, at, x, y) => {
    const more = (lines[y][0][x] - lines[y][1][x]) / 255;
    const [red, green, blue] = more > 0 ? [213, 94, 0] : [0, 114, 178];
    const mix = (channel) => 255 + Math.abs(more) * (channel - 255);
    pixels.set([mix(red), mix(green), mix(blue), 255], at);
  });
  tell(one, a, `${a.label} minus ${b.label}: orange where the first is larger, blue where the second is`);
}

return { shownText, rows, bytes, levels, valueAt, scaled, STOPS, paint, shade, canvas, track, band, gap, whole };
})();
