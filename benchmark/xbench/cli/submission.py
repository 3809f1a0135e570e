"""Place a result file under submissions/, unchanged, after every check that a reviewer would make."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from xbench import registry
from xbench.claims import Findings, examine
from xbench.claims.here import task_here
from xbench.errors import UsageError
from xbench.inputs import RESULT_BYTES, parse_json, read_plain
from xbench.results import RunResult, parse_result
from xbench.schemas import InvalidFile
from xbench.store import write_atomically


def submit(file: Path, folder: Path) -> Path:
    """Copy one result to `<task>/<model>/<method>-<hash>.json` under `folder`; return where it lies.

    Raises UsageError when the file is no valid result, a claim does not follow from its columns, it is not
    complete, the folder is missing, or another result already lies there.
    """
    payload = read_plain(file, RESULT_BYTES)
    try:
        data = parse_json(payload)
    except ValueError as problem:
        raise UsageError(f"{file}: not valid JSON: {problem}") from None
    result = parse_result(data, str(file))
    findings = examine(result)
    found = [*findings.problems, *obstacles(result, findings)]
    if found:
        raise InvalidFile(str(file), found)
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {folder}; run this in a checkout of xbench, or give --to FOLDER"
        )
    target = folder / result.path()
    if os.path.lexists(target) and read_plain(target, RESULT_BYTES) != payload:
        raise UsageError(
            f"{target}: another result of this run lies there; remove it first if yours replaces it"
        )
    write_atomically(target, payload)
    return target


def obstacles(result: RunResult, findings: Findings) -> list[str]:
    """Return why a result without a false claim cannot be ranked."""
    found = []
    if result.status != "complete":
        found.append(f"status: {result.status} ({result.reason}); only complete runs are ranked")
    if result.own:
        found.append(
            f"provenance.plugins: {result.own} is in no package; only what others can run is ranked "
            "(`xbench new` makes a package)"
        )
    if result.task.dataset.name not in registry.datasets.names():
        found.append("task.dataset: clips given with --data; only registered datasets are ranked")
    elif task_here(result.task.name, result.task.preset) is None:
        found.append(
            "task.name: no task of this name and preset is here; only registered tasks are ranked"
        )
    found += [
        f"{line}; it would be compared with other results: evaluate again"
        for line in findings.outdated
    ]
    headline, task = result.task.headline, task_here(result.task.name, result.task.preset)
    if task is not None and headline != asdict(task.headline):
        found.append(f"task.headline: {headline}; the task ranks by {asdict(task.headline)}")
    if not any(
        s.metric == headline["metric"] and s.reference == headline["reference"]
        for s in result.scores
    ):
        found.append("scores: there is none of the headline, by which the task ranks")
    if result.model.source == "local" and registry.checkpoint(result.model.name) is None:
        found.append("model.source: a local folder; only models that others can load are ranked")
    return found


def next_steps(target: Path) -> str:
    """Say what to do with a placed result."""
    return (
        f"{target} is in place. Next: git add {target}; git commit; open a pull request with "
        "nothing else in it. The file is then published under CC0-1.0."
    )
