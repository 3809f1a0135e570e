"""Look at a built site as a reader would: do links lead somewhere, do pages, data and results agree?"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from xbench.errors import UsageError
from xbench.results import column_name
from xbench.site.build import MANIFEST
from xbench.site.charts import cost, number
from xbench.site.costs import significant
from xbench.site.load import read_results
from xbench.site.seen import Seen, seen
from xbench.site.stated import (
    Stated,
    Statements,
    disagreements,
    stated_runs,
    statements,
    text_at,
)

# Bytes, from the design's targets.
LARGEST_PAGE = 150_000
LARGEST_SCRIPTS = (60_000, 20_000)  # raw, gzip
LARGEST_STYLE = (25_000, 6_000)
LARGEST_ROW = (90, 25)
LARGEST_EXAMPLE = 700_000
_FEW_ROWS = 1000  # below, names weigh more than rows

_DIGITS = {"value": 3, "skill": 2}


def problems(site: Path) -> list[str]:
    """Return every problem of a built site, as `file: what`."""
    try:
        manifest = json.loads((site / MANIFEST).read_text("utf-8"))
        results = json.loads((site / "data/results.json").read_text("utf-8"))
        standings = json.loads((site / "data/standings.json").read_text("utf-8"))
        runs = stated_runs(site, manifest["files"], results)
    except (OSError, ValueError, LookupError) as problem:
        raise UsageError(f"{site} is not a built site: {problem!r}; build it again") from None
    found = list(_hashes(site, manifest["files"]))
    pages = {path: seen(site / path) for path in manifest["files"] if _is_page(site, path)}
    copies = {file.relative_to(site).as_posix() for file in site.glob("s/*/index.html")}
    found += _links(
        pages, {*manifest["files"], MANIFEST, *copies}, manifest["snapshot"] is not None
    )
    found += _numbers(pages, _facts(results, runs))
    found += _statements(pages, statements(runs, results, standings))
    found += _sizes(site, manifest["files"], results["n"])
    return found


def not_of(site: Path, results: Sequence[Path]) -> list[str]:
    """Return where a site shows other results than these, by the examination that lets results in."""
    try:
        shown = dict(json.loads((site / MANIFEST).read_text("utf-8"))["inputs"])
    except (OSError, ValueError, LookupError, TypeError) as problem:
        raise UsageError(f"{site} is not a built site: {problem!r}; build it again") from None
    accepted, refused = read_results(results)
    why = {refusal.file: refusal.reason for refusal in refused}
    sound = {result.sha256: result.file for result in accepted}
    return [
        *(
            f"{file}: the site shows it, but {why.get(file, 'no such file is among the results')}"
            for sha256, file in shown.items()
            if sha256 not in sound
        ),
        *(
            f"{file}: the site does not show it; build it again"
            for sha256, file in sound.items()
            if sha256 not in shown
        ),
    ]


def _is_page(site: Path, path: str) -> bool:
    return path.endswith(".html") and (site / path).is_file()


def _hashes(site: Path, files: Mapping[str, str]) -> Iterator[str]:
    for path, expected in files.items():
        file = site / path
        if not file.is_file():
            yield f"{path}: is missing"
        elif hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            yield f"{path}: is not the file that was built"


def _links(pages: Mapping[str, Seen], files: set[str], snapshot: bool) -> Iterator[str]:
    """Find links to files or places that are not there, and assets from elsewhere."""
    for path, page in pages.items():
        yield from (f"{path}: {problem}" for problem in page.found)
        for repeated in {id for id in page.ids if page.ids.count(id) > 1}:
            yield f"{path}: the id '{repeated}' stands twice"
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https") or link.startswith("data:image/png;base64,"):
                continue
            if parts.scheme or parts.netloc or link.startswith("/"):
                yield f"{path}: '{link}' is not a relative link"
                continue
            target = _resolve(path, unquote(parts.path)) if parts.path else path
            if target is None and snapshot:
                continue  # a frozen copy links to the site around it
            if target not in files:
                yield f"{path}: '{link}' leads nowhere"
            elif _place_is_missing(pages.get(target), unquote(parts.fragment)):
                yield f"{path}: '{link}' names a place that is not there"


def _place_is_missing(page: Seen | None, fragment: str) -> bool:
    """Say whether a fragment is the id of nothing; one with `=` is a state that scripts read."""
    return page is not None and bool(fragment) and "=" not in fragment and fragment not in page.ids


def _resolve(page: str, link: str) -> str | None:
    parts: list[str] = []
    for part in (PurePosixPath(page).parent / link).parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _facts(
    results: Mapping[str, Any], runs: Mapping[str, Stated]
) -> dict[str, dict[str, float | None]]:
    """Return the numbers of every row of the data, by its permanent name, and the cost of its run."""
    columns = results["cols"]
    ids = results["runs"]["id"]["v"]
    facts = {}
    for i in range(results["n"]):
        id = ids[columns["run"]["v"][i]]
        metric = text_at(columns["metric"], i) or ""
        name = f"{id}/{column_name(metric, text_at(columns['reference'], i))}"
        facts[name] = {key: columns[key]["v"][i] for key in ("value", "skill", "low", "high")}
        if id in runs:
            took = runs[id].content["cost"]["seconds_per_audio_second"]
            facts[name]["seconds"] = significant(took)
    return facts


def _numbers(
    pages: Mapping[str, Seen], facts: Mapping[str, Mapping[str, float | None]]
) -> Iterator[str]:
    for path, page in pages.items():
        for row, name, shown in page.numbers:
            if row not in facts:
                yield f"{path}: row {row} is not in data/results.json"
                continue
            fact = facts[row]
            if name == "ci":
                expected = f"[{number(fact['low'])}, {number(fact['high'])}]"
            elif name == "seconds":
                expected = cost(fact.get(name))
            else:
                expected = number(fact[name], _DIGITS[name])
            if shown != expected:
                source = "data/runs" if name == "seconds" else "data/results.json"
                yield f"{path}: {row} {name} is {shown}, {source} says {expected}"


def _statements(pages: Mapping[str, Seen], said: Mapping[str, Statements]) -> Iterator[str]:
    """Find where a page says something else of quality, references and costs than results do."""
    for path, page in pages.items():
        for subject, shown in page.statements.items():
            for problem in disagreements(shown, said.get(subject, [])):
                yield f"{path}: {subject} {problem}"


def _sizes(site: Path, files: Mapping[str, str], rows: int) -> Iterator[str]:
    content = {path: (site / path).read_bytes() for path in files if (site / path).is_file()}
    for path, data in content.items():
        if path.endswith(".html") and len(data) > LARGEST_PAGE:
            yield f"{path}: {len(data)} bytes are more than {LARGEST_PAGE}"
        if path.startswith("js/ex/") and len(data) > LARGEST_EXAMPLE:
            yield f"{path}: {len(data)} bytes are more than {LARGEST_EXAMPLE}"
    for suffix, limits in ((".js", LARGEST_SCRIPTS), (".css", LARGEST_STYLE)):
        assets = b"".join(
            data
            for path, data in content.items()
            if path.startswith("assets/") and path.endswith(suffix)
        )
        yield from _over(f"assets/*{suffix}", assets, limits)
    results = content.get("data/results.json")
    if results is not None and rows >= _FEW_ROWS:
        yield from _over(
            "data/results.json", results, (LARGEST_ROW[0] * rows, LARGEST_ROW[1] * rows)
        )


def _over(name: str, data: bytes, limits: tuple[int, int]) -> Iterator[str]:
    packed = len(gzip.compress(data, mtime=0))
    if len(data) > limits[0] or packed > limits[1]:
        yield f"{name}: {len(data)} bytes ({packed} gzip) are more than {limits[0]} ({limits[1]})"
