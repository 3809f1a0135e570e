"""The targets of the site, measured: time to build, bytes, and speed in headless Chromium.

Usage: python perf/leaderboard.py [--rows 10000] [--many 50000] [--repeats 5]

Writes perf/leaderboard.md and .json. Pages are opened from `file://` in a fresh profile each time; times
are medians. Run it on a quiet machine: the result says how busy it was. Needs the package playwright and
Chromium (XBENCH_CHROMIUM).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "site"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))

from bundles import bundle, write_bundle
from harness import FLAGS, chromium
from synthetic import many, write

from xbench.site.build import Built, Options, build

EXAMPLES = 40
SUBMISSIONS = Path(__file__).parents[1] / "submissions"
WATCH = """
const seen = window.__seen = {ready: null, shift: 0};
new PerformanceObserver(list => { for (const e of list.getEntries()) seen.shift += e.value; })
  .observe({type: 'layout-shift', buffered: true});
new MutationObserver(() => {
  if (seen.ready === null && document.documentElement.classList.contains('ready'))
    requestAnimationFrame(() => setTimeout(() => { seen.ready ??= performance.now(); }, 0));
}).observe(document, {subtree: true, attributes: true, attributeFilter: ['class']});
"""
# From an action to the end of the frame that shows it.
TO_FRAME = """async ([selector, value]) => {
  const part = document.querySelector(selector);
  const start = performance.now();
  if (value === null) part.click();
  else { part.value = value; part.dispatchEvent(new Event('input', {bubbles: true})); }
  await new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));
  return performance.now() - start;
}"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


@dataclass(frozen=True)
class Line:
    """One target: what was wanted, what was found, whether it is met."""

    what: str
    unit: str
    target: float
    measured: float

    @property
    def met(self) -> bool:
        """Whether it is at most the target."""
        return self.measured <= self.target


def timed_build(
    folder: Path, name: str, rows: int | None, examples: Path | None
) -> tuple[Built, float, float]:
    """Build a site of about this many made-up scores, or of our own; return it with its seconds, cold and again."""
    results = SUBMISSIONS if rows is None else write(folder / f"{name}-results", many(rows))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        built = build([results], folder / name, Options(examples=examples))
        seconds.append(time.perf_counter() - start)
    return built, *seconds


BUILD = """
import sys
from pathlib import Path
from xbench.site.build import build
build([Path(sys.argv[1])], Path(sys.argv[2]))
"""


def peak_memory(results: Path, out: Path) -> float:
    """Build once more; return the most megabytes that the process and its copies held, shared ones counted once."""
    peak = 0.0
    with subprocess.Popen([sys.executable, "-c", BUILD, str(results), str(out)]) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(own_megabytes, with_children(process.pid))))
            time.sleep(0.02)
    return peak


def with_children(process: int) -> list[int]:
    """Return a process and those that it has begun."""
    try:
        begun = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # it has ended
        return []
    return [process, *map(int, begun)]


def own_megabytes(process: int) -> float:
    """Return the memory of a process, where what n processes share counts as an n-th."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0) / 1024


def median(measure: Callable[[], dict[str, float]], repeats: int) -> dict[str, float]:
    """Return the median of every figure over repeated measurements."""
    found = [measure() for _ in range(repeats)]
    return {name: float(np.median([one[name] for one in found])) for name in found[0]}


def explorer(browser: Any, site: Path, slower: int) -> dict[str, float]:
    """Open the explorer once, sort and filter: milliseconds, layout shift, megabytes of heap."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(WATCH)
    page = context.new_page()
    client = context.new_cdp_session(page)
    client.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    page.goto((site / "results.html").as_uri())
    page.locator("html.ready").wait_for()
    page.wait_for_timeout(300)
    found = {
        "paint": page.evaluate(PAINT),
        "ready": page.evaluate("window.__seen.ready"),
        "shift": page.evaluate("window.__seen.shift"),
        "sort": page.evaluate(TO_FRAME, ["[data-sort=value]", None]),
        "filter": page.evaluate(TO_FRAME, ["select[name=family]", "gradient"]),
    }
    client.send("HeapProfiler.collectGarbage")
    client.send("Performance.enable")
    metrics = {m["name"]: m["value"] for m in client.send("Performance.getMetrics")["metrics"]}
    found["heap"] = metrics["JSHeapUsedSize"] / 1e6
    context.close()
    return found


def viewer(browser: Any, site: Path) -> dict[str, float]:
    """Open an example and choose tokens: milliseconds to the repainted frame."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(next(site.glob("examples/demo-*.html")).as_uri())
    page.locator("#viewer[data-ready]").wait_for()
    found = [page.evaluate(TO_FRAME, [f".chip:nth-child({n})", None]) for n in range(2, 8)]
    page.context.close()
    return {"token": float(np.median(found))}


def home(browser: Any, site: Path) -> dict[str, float]:
    """Open the first page: milliseconds to the first contentful paint."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto((site / "index.html").as_uri())
    page.wait_for_timeout(500)
    found = {"paint": page.evaluate(PAINT)}
    page.context.close()
    return found


def sizes(built: Built) -> list[Line]:
    """Return what the files weigh."""
    site = built.folder

    def weigh(paths: Iterable[Path]) -> tuple[float, float]:
        content = b"".join(path.read_bytes() for path in sorted(paths))
        return len(content) / 1e3, len(gzip.compress(content, mtime=0)) / 1e3

    script, packed_script = weigh(site.glob("assets/*.js"))
    style, packed_style = weigh(site.glob("assets/*.css"))
    results, packed_results = weigh([site / "data" / "results.json"])
    pages = max(path.stat().st_size for path in site.rglob("*.html")) / 1e3
    example = max(path.stat().st_size for path in site.glob("js/ex/*.js")) / 1e3
    return [
        Line("own JavaScript", "kB", 60, script),
        Line("own JavaScript, gzip", "kB", 20, packed_script),
        Line("stylesheet", "kB", 25, style),
        Line("stylesheet, gzip", "kB", 6, packed_style),
        Line("largest HTML page", "kB", 150, pages),
        Line("results file per row", "B", 90, 1e3 * results / built.rows),
        Line("results file per row, gzip", "B", 25, 1e3 * packed_results / built.rows),
        Line("largest example, first load", "kB", 700, example),
        Line(f"whole site, {EXAMPLES} examples", "MB", 60, built.bytes / 1e6),
        Line(f"whole site, {EXAMPLES} examples", "files", 1500, built.files),
    ]


def measure(rows: int, more: int, repeats: int) -> list[Line]:
    """Build both sites and measure every target."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number in range(EXAMPLES):
            write_bundle(folder / "examples", bundle(f"demo-{number:02d}"))
        _, cold, again = timed_build(folder, "plain", rows, None)
        small, shown, _ = timed_build(folder, "small", rows, folder / "examples")
        memory = peak_memory(folder / "plain-results", folder / "once-more")
        large, large_cold, _ = timed_build(folder, "large", more, None)
        real, real_cold, _ = timed_build(
            folder, "real", None, SUBMISSIONS.parent / "docs" / "examples"
        )
        # Begun only now: a build shares its work with copies of the process where that has no other threads.
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
            explorer(browser, small.folder, 1)  # warms the file cache
            plain = median(lambda: explorer(browser, small.folder, 1), repeats)
            slow = median(lambda: explorer(browser, small.folder, 4), repeats)
            big = median(lambda: explorer(browser, large.folder, 1), repeats)
            first = median(lambda: home(browser, small.folder), repeats)
            token = median(lambda: viewer(browser, small.folder), repeats)
            browser.close()
        return [
            Line("first contentful paint, home", "ms", 300, first["paint"]),
            Line("first contentful paint, explorer", "ms", 300, plain["paint"]),
            Line(f"explorer usable, {small.rows:,} rows", "ms", 400, plain["ready"]),
            Line("the same at a quarter of the speed", "ms", 1200, slow["ready"]),
            Line("sort to next frame", "ms", 100, plain["sort"]),
            Line("the same at a quarter of the speed", "ms", 250, slow["sort"]),
            Line("filter to next frame", "ms", 100, plain["filter"]),
            Line("the same at a quarter of the speed", "ms", 250, slow["filter"]),
            Line(f"explorer usable, {large.rows:,} rows", "ms", 600, big["ready"]),
            Line("token click to repaint", "ms", 50, token["token"]),
            Line("layout shift", "", 0.02, max(plain["shift"], slow["shift"], big["shift"])),
            Line("JavaScript heap", "MB", 40, plain["heap"]),
            *sizes(small),
            Line(f"build, {small.rows:,} rows", "s", 5, cold),
            Line("build again, inputs known", "s", 5, again),
            Line(f"build with {EXAMPLES} examples (no target: that of the rows)", "s", 5, shown),
            # Their clips have more tokens and speakers than made-up ones, and their files six times the bytes.
            Line(
                f"build of submissions/, {real.rows:,} rows",
                "s",
                round(real.rows / 2000, 1),
                real_cold,
            ),
            Line("build, peak memory", "MB", 500, memory),
            Line(
                f"build, {large.rows:,} rows (no target: five times the first)", "s", 25, large_cold
            ),
        ]


def main() -> None:
    """Measure and write the two files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    lines = measure(given.rows, given.many, given.repeats)
    where = {
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "python": platform.python_version(),
        "repeats": given.repeats,
    }
    content = {"machine": where, "lines": [{**asdict(x), "met": x.met} for x in lines]}
    out = Path(__file__).with_suffix("")
    out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    table = "\n".join(
        f"| {x.what} | {x.target:g} {x.unit} | {x.measured:.3g} {x.unit} | {'yes' if x.met else '**no**'} |"
        for x in lines
    )
    text = f"""# The site: targets and measurements

`python perf/leaderboard.py`: made-up results unless it says otherwise, headless Chromium,
pages from `file://`, median of {given.repeats};
{where["cores"]} cores, load {where["load_before"]} before the start.
"A quarter of the speed" is Chromium's own throttling.

| What | Target | Measured | Met |
| --- | --- | --- | --- |
{table}
"""
    out.with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
