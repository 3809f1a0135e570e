"""Build the site: the same inputs give the same bytes, and nothing of others is touched.

The site is written beside the target and swapped in by renaming, so a reader never sees half of it. A
target that is not empty is only replaced if an earlier build's `build.json` lies in it; files that it does
not list are carried over.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rcssmin import cssmin
from rjsmin import jsmin

from xbench import registry
from xbench.bundle import publish
from xbench.claims import edition
from xbench.errors import UsageError
from xbench.site.audited import read_audit
from xbench.site.badges import badge, badge_text
from xbench.site.data.exports import latex, markdown, results_csv
from xbench.site.data.heads import head_file
from xbench.site.data.results import RESULTS_SCHEMA, results_table
from xbench.site.data.runs import submission_file
from xbench.site.data.scripts import entities, json_text, pair_files, script_text
from xbench.site.data.standings import standings_file
from xbench.site.examples import (
    Example,
    better_than,
    comparable,
    named_as_on_boards,
    read_examples,
)
from xbench.site.feed import days, feed
from xbench.site.history import turns
from xbench.site.load import Refusal, Result, read_results
from xbench.site.on_demand import with_the_page
from xbench.site.overall import Overall, over_all, times_key
from xbench.site.pages import other_pages, pages_of_scores
from xbench.site.pages.page import Page
from xbench.site.picture import picture
from xbench.site.render import leaderboard_folder, renderer
from xbench.site.side_by_side import side_by_side
from xbench.site.swap import restore, swap_in
from xbench.site.tables.headlines import shown_scores
from xbench.site.tables.tabulate import Tables, tabulate
from xbench.site.text import digest, slugs
from xbench.site.useful import read_usefulness
from xbench.site.waveform import with_outlines

SCHEMA = "xbench.build/1"
MANIFEST = "build.json"
_PAPER_COLUMNS = (
    "config",
    "value",
    "low",
    "high",
    "floor",
    "ceiling",
    "skill",
    "rank_low",
    "rank_high",
)

Files = dict[str, bytes]


@dataclass(frozen=True)
class Options:
    """How to build. audio: `allow-list` publishes clips whose licence allows it, `none` no clip.

    repository, documentation: addresses that every page links to; without the second one, the pages of the repository.
    """

    base_url: str | None = None
    repository: str | None = None
    documentation: str | None = None
    snapshot: str | None = None
    examples: Path | None = None
    max_examples: int = 40
    audio: str = "allow-list"
    strict: bool = False


@dataclass(frozen=True)
class Built:
    """What was made: files, bytes, runs, scores, and the files that were left out."""

    folder: Path
    files: int
    bytes: int
    runs: int
    rows: int
    refused: tuple[Refusal, ...]


def build(paths: Sequence[Path], out: Path, options: Options = Options()) -> Built:  # frozen
    """Build the site of these result files in `out`.

    Raises UsageError: a path that does not exist, a target that is not ours, with `strict` a broken
    file; EnvironmentProblem: the target cannot be written.
    """
    with _without_collector():
        return _build(paths, out, options)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep Python from looking for cycles in the results: they have none, and it takes a fifth of the time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            if (
                gc.get_freeze_count() == 0
            ):  # so that it does not look for them now, among all that is left
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def _build(paths: Sequence[Path], out: Path, options: Options) -> Built:
    snapshot = _checked(options)
    target = out / "s" / snapshot if snapshot else out
    restore(target)
    previous = _previous(target)
    results, refused = read_results(paths, _known(previous))
    if options.strict and refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise UsageError(f"{refused[0]}{more}; without --strict such files are left out")
    works: tuple[Callable[[], Any], ...] = (
        lambda: tabulate(results),
        lambda: read_examples(options.examples, options.max_examples, options.audio),
    )
    tables, (examples, media, refused_examples) = side_by_side(works)
    if options.strict and refused_examples:
        raise UsageError(f"{refused_examples[0]}; without --strict such examples are left out")
    refused = (*refused, *refused_examples)
    examples = tuple(
        replace(named_as_on_boards(tables, e), better=better_than(tables, e)) for e in examples
    )
    copies = () if snapshot else _snapshots(out)
    files = site_files(tables, with_outlines(examples, media), refused, options, copies)
    files.update(media)
    files[MANIFEST] = _manifest(files, results, refused, tables, snapshot)
    swap_in(files, target, {*(previous or {}).get("files", ()), MANIFEST})
    size = sum(map(len, files.values()))
    return Built(target, len(files), size, len(tables.runs), len(tables.rows), refused)


def _checked(options: Options) -> str | None:
    publish(options.audio)
    addresses = {
        "--base-url": options.base_url,
        "--repository": options.repository,
        "--documentation": options.documentation,
    }
    for option, address in addresses.items():
        if address is not None and not re.fullmatch(r"https?://[^\s<>\"']+", address):
            raise UsageError(f"{option} '{address}' is not an http or https address")
    name = options.snapshot
    if name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,40}", name):
        raise UsageError(f"--snapshot '{name}' is not made of a-z, 0-9, '.' and '-'")
    return name


# -- content ---------------------------------------------------------------------------------------


def site_files(
    tables: Tables,
    examples: Sequence[Example],
    refused: Sequence[Refusal],
    options: Options = Options(),  # frozen
    snapshots: Sequence[str] = (),
) -> Files:
    """Return every file of the site but its manifest, by path; snapshots: names of the frozen copies inside of it."""
    files: Files = {}
    names: dict[str, str] = {}

    def add(plain: str, content: str | bytes) -> None:
        payload = content.encode() if isinstance(content, str) else content
        stem, dot, suffix = plain.rpartition(".")
        hashed = f"{stem}.{hashlib.sha256(payload).hexdigest()[:8]}{dot}{suffix}"
        names[plain if plain.startswith("assets/") else stem] = hashed
        files[hashed] = payload

    for asset in sorted((leaderboard_folder() / "assets").iterdir()):
        if asset.suffix == ".png":
            add(f"assets/{asset.name}", asset.read_bytes())
        if asset.suffix in (".js", ".css", ".svg"):
            add(f"assets/{asset.name}", slim(asset.name, asset.read_text("utf-8")))

    def script(name: str, value: Any) -> str:
        add(f"js/{name}.js", script_text(name, json_text(value)))
        return names[f"js/{name}"]

    shown = shown_scores(tables)
    standings = [over_all(tables, *key) for key in shown]
    results = results_table(tables)
    script("results", results)
    times = times_key(tables, shown[0]) if shown else None
    compared = [*shown, *([times] if times and times not in shown else [])]
    for slug, pairs in pair_files(tables, compared).items():
        script(f"pairs/{slug}", pairs)
    for model in tables.models:
        if (heads := head_file(tables, model)) is not None:
            files[f"data/heads/{model.slug}.json"] = (json_text(heads) + "\n").encode()
    for example in examples:
        script(f"ex/{example.id}", with_the_page(example.bundle, script))
        files[f"pictures/{example.id}.svg"] = picture(example.bundle).encode()
    lazy = {
        k.removeprefix("js/"): v
        for k, v in names.items()
        if re.fullmatch(r"js/(pairs|ex)/[^.]+", k)
    }
    script("entities", entities(tables, lazy, compared, comparable(tables, examples)))

    added = days(tables.submissions, turns(tables))
    files["feed.xml"] = feed(added, _with_slash(options.base_url)).encode()
    main = standings[0] if standings else None
    badges = {method.slug: badge_text(method, main) for method in tables.methods}
    files |= {f"badges/{slug}.svg": badge(text).encode() for slug, text in badges.items()}

    files |= _paper_tables(tables)
    render = renderer(site_facts(tables, files, options), names)
    audit, useful = read_audit(leaderboard_folder()), read_usefulness(leaderboard_folder())

    def rendered(pages: Iterable[Page]) -> Files:
        return {page.path: render(page).encode() for page in pages}

    works = (
        lambda: rendered(pages_of_scores(tables, standings, examples)),
        lambda: rendered(
            other_pages(
                tables, standings, examples, refused, audit, useful, badges, added, snapshots
            )
        ),
        lambda: data_files(tables, results, standings),
    )
    for made in side_by_side(works):
        files |= made
    files["data/SHA256SUMS"] = _sums(files)
    return files


def data_files(tables: Tables, results: Mapping[str, Any], standings: Sequence[Overall]) -> Files:
    """Return what programs read of the site, by path: results, standings, submissions."""
    files: Files = {}
    files["data/results.json"] = (json_text(results) + "\n").encode()
    files["data/results.csv"] = results_csv(tables.rows).encode()
    files["data/results.schema.json"] = (json_text(RESULTS_SCHEMA) + "\n").encode()
    files["data/standings.json"] = (json_text(standings_file(standings)) + "\n").encode()
    for submission in tables.submissions:
        content = json_text(submission_file(submission.runs)) + "\n"
        files[f"data/runs/{submission.id}.json"] = content.encode()
    return files


def _paper_tables(tables: Tables) -> Files:
    files: Files = {}
    for task in tables.tasks:
        boards = tables.select(task=task, metric=task.headline[0], reference=task.headline[1])
        for board in boards:
            rows = [row for row in board.rows if row.config.head is None]
            stem = f"data/tables/{task.slug}.{board.model.slug}"
            files[f"{stem}.tex"] = latex(rows, _PAPER_COLUMNS).encode()
            files[f"{stem}.md"] = markdown(rows, _PAPER_COLUMNS).encode()
    return files


def _sums(files: Files) -> bytes:
    """Return what `sha256sum -c` checks the files of `data/` with."""
    sums = (
        f"{hashlib.sha256(content).hexdigest()}  {path.removeprefix('data/')}\n"
        for path, content in sorted(files.items())
        if path.startswith("data/")
    )
    return "".join(sums).encode()


def slim(name: str, asset: str) -> str:
    """Leave out comments and white space that means nothing: a reader loads only what runs."""
    minify = {"js": jsmin, "css": cssmin}.get(name.rpartition(".")[2])
    return minify(asset) if minify else asset


def site_facts(tables: Tables, files: Files, options: Options) -> dict[str, Any]:
    """Return what every template knows."""
    repository = _with_slash(options.repository)
    references = {row.reference for row in tables.rows if row.reference}
    known = {d.name for d in registry.references.descriptions()}
    anchors = slugs([*references, *known, *tables.metrics, *registry.metrics.names()])
    method_slugs = {method.name: method.slug for method in tables.methods}

    def compared_with(metric: str, reference: str | None) -> str | None:
        """Return the reference that maps are compared with; None under a metric that uses none."""
        known = tables.metrics.get(metric)
        return None if known and known.timed else reference

    def score_words(metric: str, reference: str | None = None) -> str:
        against = compared_with(metric, reference)
        return f"{metric} against {against}" if against else metric

    return {
        "version": version("xbench"),
        "date": build_date(tables),
        "base_url": _with_slash(options.base_url),
        "repository": repository,
        "documentation": _with_slash(options.documentation)
        or (repository and f"{repository}blob/HEAD/docs/index.md"),
        "snapshot": options.snapshot,
        "n_rows": len(tables.rows),
        "n_runs": len(tables.runs),
        "n_methods": sum(m.family != "control" for m in tables.methods),
        "n_models": len(tables.models),
        "n_tasks": len(tables.tasks),
        "anchor": lambda name: anchors[name],
        "compared_with": compared_with,
        "score_words": score_words,
        "method_slug": lambda name: method_slugs[name],
        "score_names": sorted(
            {(r.metric, compared_with(r.metric, r.reference) or "") for r in tables.rows}
        ),
        "task_options": [(t.slug, t.title) for t in tables.tasks],
        "model_options": [(m.slug, m.title) for m in tables.models],
        "method_options": [(m.slug, m.name) for m in tables.methods],
        "metric_options": [(name, name) for name in tables.metrics],
        "unknown_references": sorted(references - known),
        "tables_out": sorted(path for path in files if path.startswith("data/tables/")),
        "heads_out": sorted(path for path in files if path.startswith("data/heads/")),
    }


def _with_slash(url: str | None) -> str | None:
    return None if url is None else url.rstrip("/") + "/"


def build_date(tables: Tables) -> str:
    """Return the day of SOURCE_DATE_EPOCH, else of the newest run, else "no run yet"; never now."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is not None:
        if not epoch.isdigit():
            raise UsageError(f"SOURCE_DATE_EPOCH '{epoch}' is not a number of seconds")
        return datetime.fromtimestamp(int(epoch), UTC).date().isoformat()
    return max((run.date for run in tables.runs), default="no run yet")


# -- manifest and folder ---------------------------------------------------------------------------


def _snapshots(out: Path) -> tuple[str, ...]:
    """Return the names of the frozen copies that lie in a site."""
    return tuple(sorted(file.parent.name for file in out.glob(f"s/*/{MANIFEST}")))


def _edition() -> str:
    """Return a hash of what checks results: an earlier build's findings count only under the same."""
    return digest(edition() + version("xbench"), 16)


def _manifest(
    files: Files,
    results: Iterable[Result],
    refused: Sequence[Refusal],
    tables: Tables,
    snapshot: str | None,
) -> bytes:
    content = {
        "schema": SCHEMA,
        "xbench": version("xbench"),
        "date": build_date(tables),
        "snapshot": snapshot,
        "result_schema": _edition(),
        "inputs": dict(sorted((r.sha256, r.file) for r in results)),
        "left_out": [[r.file, r.reason] for r in refused],
        "files": {path: hashlib.sha256(files[path]).hexdigest() for path in sorted(files)},
    }
    return (json.dumps(content, indent=0, ensure_ascii=True, allow_nan=False) + "\n").encode()


def _previous(target: Path) -> Mapping[str, Any] | None:
    """Return the manifest of the build that lies in the target; None where there is nothing."""
    if not target.exists():
        return None
    if not target.is_dir():
        raise UsageError(f"{target} is a file; name a folder")
    inside = [p for p in target.iterdir() if p.name != "s"]
    if not inside:
        return None
    try:
        manifest = json.loads((target / MANIFEST).read_text("utf-8"))
        if manifest["schema"] == SCHEMA and isinstance(manifest["files"], dict):
            return manifest  # type: ignore[no-any-return]  # checked as far as it is used
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError(
        f"{target} is not empty and holds no {MANIFEST} of xbench; name a new folder, nothing was deleted"
    )


def _known(previous: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the hashes of the inputs that the last build found right by the same examination."""
    if previous is None or previous.get("result_schema") != _edition():
        return frozenset()
    inputs = previous.get("inputs")
    return frozenset(inputs) if isinstance(inputs, dict) else frozenset()
