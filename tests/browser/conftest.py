"""A real browser over a built site: from a folder, over HTTP without ranges, and below a sub-path."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "site"))
sys.path.insert(0, str(Path(__file__).parent))

from bundles import bundle, write_bundle
from synthetic import METHODS, head, result, write

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


class _Plain(SimpleHTTPRequestHandler):
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
        # A player that drops a clip it has begun to load is not a failure.
        if request.resource_type != "media":
            self.problems.append(f"request failed: {request.url} {request.failure}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return a running Chromium."""
    if importlib.util.find_spec("playwright") is None or chromium() is None:
        pytest.skip(
            "no browser: install the package playwright, and Chromium (or set XBENCH_CHROMIUM)"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="session")
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens an address in a fresh profile and watches it."""
    contexts = []

    def opened(
        url: str, *, theme: str = "light", width: int = 1280, js: bool = True, **more: Any
    ) -> tuple[Any, Watch]:
        context = browser.new_context(
            color_scheme=theme,
            viewport={"width": width, "height": 800},
            java_script_enabled=js,
            **more,
        )
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        watch = Watch()
        watch.on(page, url)
        page.goto(url, wait_until="load")
        return page, watch

    def close() -> None:
        while contexts:
            contexts.pop().close()

    opened.close = close  # type: ignore[attr-defined]
    yield opened
    close()


@pytest.fixture(autouse=True)
def _closing(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "open_page" in request.fixturenames:
        request.getfixturevalue("open_page").close()


@pytest.fixture(scope="session")
def served() -> Iterator[Callable[[Path], str]]:
    """Return a function that serves a folder on loopback without ranges."""
    servers = []

    def serve(folder: Path) -> str:
        handler = functools.partial(_Plain, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def made(folder: Path, name: str, results: Any, examples: Path | None = None) -> Path:
    """Build a site of these results and return its folder."""
    files = write(folder / f"{name}-results", results)
    return build([files], folder / "below" / name, Options(examples=examples)).folder


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, served: Callable[[Path], str]) -> Site:
    """Two tasks, two models, all families, single heads, both score families, hostile texts, examples."""
    folder = tmp_path_factory.mktemp("browser")
    scores = (("pearson", "spes-encoder"), ("pearson", "spes-input"), ("deletion-auc", None))
    results = [
        result(task, model, method, scores=scores, texts=HOSTILE)
        for task in ("demo-asr-en", "demo-st-de")
        for model in ("xbench-tiny", "model-<b>bold</b>")
        for method in (*METHODS, *(head(i // 4, i % 4) for i in range(16)))
        if not (task == "demo-st-de" and method[0] == "rise")
    ]
    results += [result("demo-st-de", "xbench-tiny", METHODS[10], scores=scores, missing=True)]
    examples = write_bundle(folder / "examples", bundle("demo-one"))
    write_bundle(examples, bundle("demo-two", text=HOSTILE[0], audio=None, audio_reason="licence"))
    place = made(folder, "site", results, examples)
    plain, below = served(place), served(place.parent.parent)
    bases = {"file": place.as_uri() + "/", "http": plain, "sub-path": f"{below}below/site/"}
    return Site(place, bases)


def page_types(folder: Path) -> list[str]:
    """Return one page of every type."""
    plain = ["index", "heads", "cost", "compare", "results", "about", "downloads", "changes", "404"]
    found = [f"{name}.html" for name in plain]
    for kind in ("tasks", "models", "methods", "examples", "runs"):
        names = sorted(p.name for p in (folder / kind).glob("*.html"))
        found += [f"{kind}/{name}" for name in names if name == "index.html"]
        found += [f"{kind}/{name}" for name in names if name != "index.html"][:1]
    return found
