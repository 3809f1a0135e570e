"""A real browser over a built site: from a folder, over HTTP without ranges, and below a sub-path."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "site"))

from synthetic import write

from xbench.claims import Findings
from xbench.site import load
from xbench.site.build import Options, build

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1) \u202e evil \u0007",
)


def chromium() -> str | None:
    """Return the browser to drive, or None."""
    return os.environ.get("XBENCH_CHROMIUM") or shutil.which("chromium")


class Plain(SimpleHTTPRequestHandler):
    """Python's own server: no byte ranges."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass(frozen=True)
class Site:
    """A built site and the addresses it is looked at under."""

    folder: Path
    bases: dict[str, str]

    def url(self, path: str, how: str = "file") -> str:
        """Return the address of a page: how is file, http or sub-path."""
        return self.bases[how] + path


@dataclass
class Watch:
    """What went wrong on a page: messages, failed and foreign requests, reports of the policy."""

    problems: list[str] = field(default_factory=list)

    def on(self, page: Any, base: str) -> None:
        """Listen to everything; requests that leave the site are stopped."""
        origin = re.match(r"file:|\w+://[^/]+", base)
        assert origin

        def route(route: Any) -> None:
            url = route.request.url
            if url.startswith((origin.group(), "data:", "blob:")):
                route.continue_()
            else:
                self.problems.append(f"foreign request: {url}")
                route.abort()

        page.route("**/*", route)
        page.on("console", lambda m: self.problems.append(f"console {m.type}: {m.text}"))
        page.on("pageerror", lambda e: self.problems.append(f"error: {e}"))
        page.on("requestfailed", lambda r: self._failed(r))
        page.on(
            "response",
            lambda r: self.problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None,
        )

    def _failed(self, request: Any) -> None:
        # A player that drops a clip it has begun to load, and a page that ends before its request, are no failures.
        if request.resource_type != "media" and "ERR_ABORTED" not in str(request.failure):
            self.problems.append(f"request failed: {request.url} {request.failure}")


def made(folder: Path, name: str, results: Any, examples: Path | None = None) -> Path:
    """Build a site of these results, taken as stated, and return its folder."""
    files = write(folder / f"{name}-results", results)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "examine_all", lambda results, _: [Findings((), (), ())] * len(results))
        return build([files], folder / "below" / name, Options(examples=examples)).folder


def page_types(folder: Path) -> list[str]:
    """Return one page of every type."""
    plain = ["index", "standings", "heads", "cost", "compare", "results", "search"]
    plain += ["trust", "about", "downloads", "changes", "404"]
    found = [f"{name}.html" for name in plain]
    for kind in ("tasks", "models", "methods", "examples", "runs"):
        names = sorted(p.name for p in (folder / kind).glob("*.html"))
        found += [f"{kind}/{name}" for name in names if name == "index.html"]
        found += [f"{kind}/{name}" for name in names if name != "index.html"][:1]
    return found
