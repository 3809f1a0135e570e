// A host shows this page at any depth, and nothing in it knows where the site begins: look for its list of files.
if (location.protocol !== "file:") (async () => {
  const parts = location.pathname.split("/");
  for (let depth = parts.length - 1; depth > 0; depth--) {
    const root = parts.slice(0, depth).join("/") + "/";
    const answer = await fetch(root + "build.json", { method: "HEAD" }).catch(() => ({ ok: false }));
    if (!answer.ok) continue;
    for (const link of document.querySelectorAll("[href]")) {
      const target = link.getAttribute("href");
      if (!/^(#|\/|https?:)/.test(target)) link.setAttribute("href", root + target);
    }
    return;
  }
})();
