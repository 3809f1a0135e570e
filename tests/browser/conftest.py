"""A running browser, and one site that all tests of this folder look at."""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bundles import bundle, write_bundle
from harness import FLAGS, HOSTILE, Plain, Site, Watch, chromium, made
from synthetic import METHODS, head, result


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
        handler = functools.partial(Plain, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


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
    write_bundle(
        examples,
        bundle("demo-two", text=HOSTILE[0], audio=None, audio_reason="licence-not-allowed"),
    )
    place = made(folder, "site", results, examples)
    plain, below = served(place), served(place.parent.parent)
    bases = {"file": place.as_uri() + "/", "http": plain, "sub-path": f"{below}below/site/"}
    return Site(place, bases)
