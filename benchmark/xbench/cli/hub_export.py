"""A result as the evaluation-result file that the model hub shows on a model's page (`.eval_results/NAME.yaml`)."""

from __future__ import annotations

from typing import Any

import yaml

from xbench.claims import examine
from xbench.claims.standing import obstacles
from xbench.errors import UsageError
from xbench.results import RunResult


def eval_results(result: RunResult, benchmark: str, url: str | None) -> str:
    """Return the file's text: the headline score of a result, with its status in the notes.

    benchmark: the hub's id of the dataset that stands for the benchmark. url: where the result can be seen.

    Raises:
        UsageError: the result has no headline score, or `benchmark` is no OWNER/NAME.
    """
    if benchmark.count("/") != 1 or not all(benchmark.split("/")):
        raise UsageError(f"'{benchmark}' is no data set of the hub; write OWNER/NAME")
    headline = result.task.headline
    if result.status not in ("complete", "partial"):
        raise UsageError(
            f"the result is {result.status} ({result.reason}): it has no score to export"
        )
    score = result.score(headline["metric"], headline["reference"])
    if score.value is None:
        raise UsageError(f"the headline score is null ({score.reason}): there is nothing to export")
    entry: dict[str, Any] = {
        "dataset": {"id": benchmark, "task_id": f"{result.task.name}-{result.task.version}"},
        "value": round(score.value, 4),
        "date": result.provenance.finished,
        "notes": "; ".join(_notes(result)),
    }
    if url:
        entry["source"] = {"url": url, "name": "xbench"}
    return yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=1000)


def _notes(result: RunResult) -> list[str]:
    """Say what the value is, how sure it is, and whether the row is ranked."""
    headline = result.task.headline
    score = result.score(headline["metric"], headline["reference"])
    found = obstacles(result, examine(result))
    notes = [
        f"{score.metric} of {result.method.label} {result.method.version} against {score.reference}",
        f"model revision {result.model.revision}",
    ]
    if score.ci:
        notes.append(f"95 % interval {score.ci[0]:.4f} to {score.ci[1]:.4f}")
    if score.skill.value is not None:
        notes.append(f"skill {score.skill.value:.4f}")
    notes.append(f"not ranked: {'; '.join(map(str, found))}" if found else "ranked")
    return notes
