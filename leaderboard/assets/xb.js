// The data of a page: scripts in js/ call XB.put(name, JSON text); XB.get(name) reads it.
"use strict";
const XB = (function () {
  const texts = new Map();
  const parsed = new Map();
  return {
    put(name, text) { texts.set(name, text); },
    get(name) {
      if (!parsed.has(name) && texts.has(name)) parsed.set(name, JSON.parse(texts.get(name)));
      return parsed.get(name);
    },
  };
})();
