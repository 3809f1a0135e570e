// What all pages share: data, the one way to load more of it, elements made of text, and the fragment as state.
"use strict";
const XB = (function () {
const page = document.documentElement;
const root = page.dataset.root || "";
const texts = new Map();
const parsed = new Map();
const waiting = new Map();

// Only our own data files, by relative name: whatever else asks for a script is refused.
const OURS = /^(?:\.\.\/){0,4}js\/(?:[a-z]+\/)?[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[0-9a-f]{8}\.js$/;
const checked = (address) => {
  if (!OURS.test(address)) throw new TypeError("not a file of this site: " + address);
  return address;
};
const rules = { createScriptURL: checked };
const policy = window.trustedTypes?.createPolicy("xb", rules) || rules;

function get(name) {
  if (!parsed.has(name) && texts.has(name)) {
    parsed.set(name, JSON.parse(texts.get(name)));
    texts.delete(name);
  }
  return parsed.get(name);
}

// Load a data file that the page did not bring, once; entities tell where it lies, if its place is not given.
function load(name, file = get("entities").files[name]) {
  if (get(name) || !file) return Promise.resolve(get(name));
  if (!waiting.has(name)) {
    waiting.set(name, new Promise((done, fail) => {
      const script = el("script");
      script.src = policy.createScriptURL(root + file);
      script.onload = () => done(get(name));
      script.onerror = () => fail(new Error(name + " could not be loaded"));
      document.head.append(script);
    }));
  }
  return waiting.get(name);
}

// An element with attributes and children; texts stay texts.
const maker = (create) => (tag, given, ...children) => {
  const made = create(tag);
  for (const [name, value] of Object.entries(given || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};
const el = maker((tag) => document.createElement(tag));
const svg = maker((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));

const button = (text, onclick, more) => el("button", { type: "button", onclick, ...more }, text);

// Numbers are written as the pages write them: an exact tie goes to the even digit, as in Python; true minus; a dash for none.
function fixed(value, digits) {
  const size = Math.abs(value);
  const halves = size * 2 ** (digits + 1);
  if (!Number.isInteger(halves) || halves % 2 === 0) return value.toFixed(digits);
  const below = Math.floor(size * 10 ** digits);
  return (Math.sign(value) * (below + below % 2) / 10 ** digits).toFixed(digits);
}

function number(value, digits = 2) {
  if (!Number.isFinite(value)) return "–";
  const text = fixed(value, digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

function cost(value) {
  if (!Number.isFinite(value)) return "–";
  if (!value) return "0";
  const digits = Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(Math.abs(value)))));
  return fixed(value, digits).replace(/\B(?=(\d{3})+(?!\d)(?<!\.\d*))/g, ",");
}

// An interval behind its value; nothing where there is none.
const range = (low, high) => (low === null ? [] : [" ", el("small", { class: "ci", "data-f": "ci" }, `[${number(low)}, ${number(high)}]`)]);

const count = (n, one, many = one + "s") => n.toLocaleString("en") + " " + (n === 1 ? one : many);

// The state of a page lies in its address, after "#", so that a link shows the same view.
const fragment = {
  read: () => new Map(new URLSearchParams(location.hash.slice(1))),
  write(state, push) {
    const kept = new URLSearchParams([...state].filter(([, value]) => value !== "")).toString();
    if (kept === location.hash.slice(1)) return;
    const address = kept ? "#" + kept : location.pathname + location.search;
    history[push ? "pushState" : "replaceState"](null, "", address);
  },
};

// Read a column by row: {v} holds values, {dict, ix} few texts that repeat.
const reader = (column) => (column.v
  ? (i) => column.v[i]
  : (i) => (column.ix[i] < 0 ? null : column.dict[column.ix[i]]));

async function copy(text, tell) {
  try {
    await navigator.clipboard.writeText(text);
    tell("Copied.");
  } catch {
    save(text, "xbench-copy.txt", "text/plain");
    tell("Saved instead.");
  }
}

// A place that says what was done, and the button that is beside every table.
function teller() {
  const told = el("span", { role: "status", class: "told" });
  const tell = (text) => { told.textContent = text; };
  return { told, tell, link: button("Copy link", () => copy(location.href, tell)) };
}

function save(text, name, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function csvCell(content) {
  if (content == null) return "";
  let text = String(content);
  if (typeof content === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text;   // no formula for a spreadsheet
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const find = document.getElementById("find");
find?.addEventListener("input", () => {
  const words = find.value.toLowerCase().split(/\s+/);
  const lines = [...document.querySelectorAll("#index li")];
  for (const line of lines) line.hidden = !words.every((word) => line.textContent.toLowerCase().includes(word));
  document.getElementById("found").textContent = count(lines.filter((line) => !line.hidden).length, "page") + " found";
});

document.addEventListener("keydown", ({ key, target }) => {
  const open = key === "Escape" && target.closest(".chooser[open]");
  if (open) { open.open = false; open.firstElementChild.focus(); }
});

return { put: (name, text) => texts.set(name, text), get, load, el, svg, number, cost, count, fragment, reader, copy, csvCell, save, teller, button, range, root };
})();
