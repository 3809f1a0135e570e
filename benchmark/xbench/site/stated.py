"""What pages must say of quality, references and costs: worked out anew from what each result states.

Subjects, as `data-of` names them; WHERE is `TASK@MODEL` for all results of a pair, else the id of a
submission:

    quality WHERE, reference WHERE NAME, padding WHERE, cost RUN, memory SUBMISSION DEVICE,
    pooled CONFIG METRIC@REFERENCE (over the block of that score in `data/standings.json`)
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.results import column_name
from xbench.site.charts import cost, number
from xbench.site.costs import pooled_cost
from xbench.site.seen import plain
from xbench.site.shared import (
    Quality,
    ReferenceFacts,
    Statement,
    shared_padding,
    shared_quality,
    shared_references,
)
from xbench.site.text import words

Statements = list[dict[str, str]]


@dataclass(frozen=True)
class Stated:
    """One run: what its result states (with its references), under the slugs of the site."""

    task: str
    model: str
    config: str
    submission: str
    content: Mapping[str, Any]


def stated_runs(site: Path, files: Iterable[str], results: Mapping[str, Any]) -> dict[str, Stated]:
    """Return the runs of a site by id, from `data/runs/` and the columns of `data/results.json`."""
    columns = results["runs"]
    place = {id: i for i, id in enumerate(columns["id"]["v"])}
    names = ("task", "model", "config", "submission")
    found = {}
    for file in files:
        if not file.startswith("data/runs/") or not (site / file).is_file():
            continue
        submission = json.loads((site / file).read_text("utf-8"))
        for run in submission["runs"]:
            described = [submission["references"][i] for i in run["references"]]
            task, model, config, of = (text_at(columns[n], place[run["id"]]) or "" for n in names)
            content = {**run, "references": described}
            found[run["id"]] = Stated(task, model, config, of, content)
    return found


def text_at(column: Mapping[str, Any], row: int) -> str | None:
    """Return a text of a column that stores each once."""
    index = column["ix"][row]
    return None if index < 0 else column["dict"][index]


def statements(
    runs: Mapping[str, Stated], results: Mapping[str, Any], standings: Mapping[str, Any]
) -> dict[str, Statements]:
    """Return of every subject what a page must say, a text per field."""
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs.values():
        groups[f"{run.task}@{run.model}"].append(run.content)
        groups[run.submission].append(run.content)
    said: dict[str, Statements] = {}
    for where, group in groups.items():
        said[f"quality {where}"] = [_quality(s) for s in shared_quality(group).statements]
        said[f"padding {where}"] = [
            {"padding": s.what, "share": _share(s)} for s in shared_padding(group).statements
        ]
        for name, facts in shared_references(group).items():
            said[f"reference {where} {name}"] = [_reference(s) for s in facts.statements]
    said |= {f"cost {id}": [_cost(run.content)] for id, run in runs.items()}
    said |= dict(_memory(runs.values()))
    said |= dict(_pooled(runs, results, standings["scores"]))
    return said


def _share(statement: Statement[Any]) -> str:
    return f"({statement.count} of {statement.of} results)" if statement.disputed else ""


def _none(reason: str | None) -> str:
    return f"– ({words(reason)})"


def _quality(statement: Statement[Quality]) -> dict[str, str]:
    quality = statement.what
    return {
        "measure": quality.metric,
        "quality": quality.value or _none(quality.reason),
        "n": str(quality.n),
        "poor": str(quality.poor),
        "share": _share(statement),
    }


def _reference(statement: Statement[ReferenceFacts]) -> dict[str, str]:
    facts = statement.what
    ceilings = (f"{metric} {value or _none(reason)}" for metric, value, reason in facts.ceilings)
    return {
        "version": f"v{facts.version}",
        "masks": facts.masks,
        "reliability": facts.reliability or _none(facts.reliability_reason),
        "audio-tokens": facts.audio_tokens or "not recorded",
        "ceilings": "; ".join(ceilings) or "not recorded",
        "hidden": facts.hidden,
        "computation": facts.computation,
        "share": _share(statement),
    }


def _cost(run: Mapping[str, Any]) -> dict[str, str]:
    took = run["cost"]
    return {
        "forward": _count(took["forward_passes"]),
        "backward": _count(took["backward_passes"]),
        "seconds": cost(took["seconds_per_audio_second"]),
        "memory": _megabytes(took["peak_memory_bytes"]),
        "device": took["device"],
        "failed": str(run["failures"]),
    }


def _count(value: int | None) -> str:
    return _none(None) if value is None else str(value)


def _megabytes(size: int | None) -> str:
    return _count(None if size is None else size // 1_000_000)


def _memory(runs: Iterable[Stated]) -> Iterator[tuple[str, Statements]]:
    groups: dict[str, list[Stated]] = defaultdict(list)
    for run in runs:
        groups[f"memory {run.submission} {run.content['cost']['device']}"].append(run)
    for subject, group in groups.items():
        peaks = [run.content["cost"]["peak_memory_bytes"] for run in group]
        peak = max((p for p in peaks if p is not None), default=None)
        methods = str(len({run.config for run in group}))
        yield subject, [{"methods": methods, "memory": _megabytes(peak)}]


def _pooled(
    runs: Mapping[str, Stated], results: Mapping[str, Any], scores: Mapping[str, Any]
) -> Iterator[tuple[str, Statements]]:
    """Yield score and cost of each method over a block: the costs pooled anew over its runs."""
    inside = {
        (score, *cell, slug): f"pooled {slug} {score}"
        for score, table in scores.items()
        for cell in table["cells"]
        for slug in table["methods"]
    }
    costs: dict[str, list[tuple[Mapping[str, Any], int]]] = defaultdict(list)
    for id, score in _scored(results):
        run = runs.get(id)
        if run and (subject := inside.get((score, run.task, run.model, run.config))):
            costs[subject].append((run.content["cost"], run.content["utterances"]))
    for score, table in scores.items():
        for slug, numbers in table["methods"].items():
            subject = f"pooled {slug} {score}"
            seconds, passes = pooled_cost(costs[subject])
            yield (
                subject,
                [
                    {
                        "value": number(numbers["value"], 3),
                        "ci": f"[{number(numbers['low'])}, {number(numbers['high'])}]",
                        "skill": number(numbers["skill"]),
                        "seconds": cost(seconds),
                        "passes": cost(passes),
                    }
                ],
            )


def _scored(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield run and score of every row that has a value and that no newer run replaces."""
    columns, ids = results["cols"], results["runs"]["id"]["v"]
    for i in range(results["n"]):
        replaced = text_at(columns["rank_reason"], i) == "superseded"
        if columns["value"]["v"][i] is not None and not replaced:
            metric = text_at(columns["metric"], i) or ""
            score = column_name(metric, text_at(columns["reference"], i))
            yield ids[columns["run"]["v"][i]], score


def disagreements(shown: Sequence[Mapping[str, str]], said: Statements) -> Iterator[str]:
    """Yield where a page says something else of one subject; it may say everything several times."""
    if not said or len(shown) % len(said):
        yield f"is shown with {len(shown)} statements, the data files make {len(said)}"
        return
    for i, statement in enumerate(shown):
        wanted = said[i % len(said)]
        told = {"share": "", **statement}  # a page leaves that out where nobody disagrees
        for name, text in sorted(told.items()):
            if text != plain(wanted.get(name, "")):
                yield f"{name} is '{text}', the data files say '{wanted.get(name, '')}'"
