"""What scripts of the pages load: names of everything, paired differences, and how data is put.

`fetch` does not work on `file://`, so each file is a classic script that hands over its JSON.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from xbench.site.data.results import coded
from xbench.site.speech import speech_of
from xbench.site.tables.entries import ScoreKey
from xbench.site.tables.tabulate import Tables


def json_text(value: Any) -> str:
    """Write JSON in ASCII, without `<`, so that it can stand in a script; no NaN."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def script_text(name: str, json_content: str) -> str:
    """Wrap exactly this JSON as a classic script: `XB.put('name','...')`."""
    quoted = json_content.replace("\\", "\\\\").replace("'", "\\'")
    return f"XB.put('{name}','{quoted}');\n"


def entities(
    tables: Tables,
    files: Mapping[str, str],
    shown: Sequence[ScoreKey],
    examples: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return names, families and links of everything.

    files: where lazy data files lie. shown: the scores that are compared. examples: the
    utterances with maps of several methods.
    """
    page = {m.name: m.slug for m in tables.methods}
    # Two models are compared at first: these have tasks in common sooner than others.
    spoken = {b.model.slug for b in tables.boards if speech_of(b.task) == "recorded"}
    return {
        "shown": [list(key) for key in shown],
        "examples": list(examples),
        "tasks": {
            t.slug: {
                "title": t.title,
                "name": t.name,
                "dataset": t.facts["dataset"]["name"],
                "kind": t.facts["kind"],
                "headline": list(t.headline),
            }
            for t in tables.tasks
        },
        "models": {
            m.slug: {
                "title": m.title,
                "architecture": m.facts["architecture"],
                "parameters": m.facts["n_parameters"],
            }
            for m in sorted(tables.models, key=lambda m: m.slug not in spoken)
        },
        "configs": {
            c.slug: {
                "label": c.label,
                "method": c.method,
                "page": page[c.method],
                "family": c.family,
                "gradients": c.gradients,
                "oracle": c.oracle,
                "head": list(c.head) if c.head else None,
            }
            for c in tables.configs
        },
        "metrics": {
            m.name: {
                "family": m.family,
                "higher": m.higher,
                "timed": m.timed,
                "summary": m.description.summary if m.description else "",
            }
            for m in tables.metrics.values()
        },
        "files": dict(files),
    }


def pair_files(tables: Tables, shown: Sequence[ScoreKey]) -> dict[str, dict[str, Any]]:
    """Return, for each config, its paired differences to all others on the metrics that are shown.

    difference = config - other, so that its sign reads the same in both files.
    """
    rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for board in tables.boards:
        if (board.metric, board.reference) not in shown:
            continue
        where = (board.task.slug, board.model.slug, board.metric, board.reference)
        for p in board.pairs:
            numbers = (p.difference, p.low, p.high)
            turned = (-p.difference, _minus(p.high), _minus(p.low))
            rows[p.a].append((*where, p.b, *numbers, p.p, p.n))
            rows[p.b].append((*where, p.a, *turned, p.p, p.n))
    return {slug: _pair_columns(found) for slug, found in sorted(rows.items())}


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _pair_columns(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    task, model, metric, reference, other, difference, low, high, p, n = zip(*rows, strict=True)
    return {
        "task": coded(task),
        "model": coded(model),
        "metric": coded(metric),
        "reference": coded(reference),
        "other": coded(other),
        "difference": {"v": [_four(x) for x in difference]},
        "low": {"v": [_four(x) for x in low]},
        "high": {"v": [_four(x) for x in high]},
        "p": {"v": [_four(x) for x in p]},
        "n": {"v": list(n)},
    }


def _four(value: float | None) -> float | None:
    return None if value is None else round(value, 4) + 0.0
