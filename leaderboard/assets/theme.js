// Runs before the first paint: says that scripts work, and restores the theme that was chosen.
"use strict";
(function () {
const page = document.documentElement;
page.classList.add("has-js");
// A view asked for in the address is drawn by a later script: until then the default one stays hidden.
page.classList.toggle("has-view", location.hash.includes("="));
let chosen = null;
try { chosen = localStorage.getItem("xb-theme"); } catch { /* storage may be forbidden */ }
if (/^(dark|light)$/.test(chosen)) page.dataset.theme = chosen;

document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (page.dataset.theme ? page.dataset.theme === "dark" : dark.matches);
  const tell = () => button.setAttribute("aria-pressed", String(isDark()));
  tell();
  button.addEventListener("click", () => {
    page.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("xb-theme", page.dataset.theme); } catch { /* as above */ }
    tell();
  });
  dark.addEventListener("change", tell);
});
// The link of a section is also copied, where the browser allows it; in the address it stands in any case.
document.addEventListener("click", ({ target }) => {
  const link = target.closest("a.here");
  link && navigator.clipboard?.writeText(link.href).then(() => { link.textContent = "# copied"; }, () => {});
});
// Who comes to a term by the keyboard or a pointer reads at once what it means, until they go on; Escape closes it, too.
const explain = (term) => ({ target, relatedTarget: from, pointerType }) => {
  if (pointerType === "touch" || target.closest("[popover]")) return;
  if (!pointerType || from?.closest(".term, [popover]")) document.querySelector(":popover-open")?.hidePopover();
  if (target.matches(term) && !from?.closest("[popover]")) target.popoverTargetElement.showPopover({ source: target });
};
document.addEventListener("focusin", explain(".term:focus-visible"));
document.addEventListener("pointerover", explain(".term"));
})();
