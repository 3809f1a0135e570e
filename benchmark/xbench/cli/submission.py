"""Place a result file under submissions/, unchanged, after every check that a reviewer would make."""

from __future__ import annotations

from pathlib import Path

from xbench import registry
from xbench.errors import UsageError
from xbench.results import RunResult, read_result
from xbench.results.aggregates import aggregate_problems
from xbench.schemas import InvalidFile
from xbench.store import write_atomically
from xbench.tasks import resolve_tasks


def submit(file: Path, folder: Path) -> Path:
    """Copy one result to `<task>/<model>/<method>-<hash>.json` under `folder`; return where it lies.

    Raises UsageError when the file is no valid result, its aggregates are not those of its columns, it is not
    complete, the folder is missing, or another result already lies there.
    """
    result = read_result(file)
    found = aggregate_problems(result) + obstacles(result)
    if found:
        raise InvalidFile(str(file), found)
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {folder}; run this in a checkout of xbench, or give --to FOLDER"
        )
    target = folder / result.path()
    payload = file.read_bytes()
    if target.exists() and target.read_bytes() != payload:
        raise UsageError(
            f"{target}: another result of this run lies there; remove it first if yours replaces it"
        )
    write_atomically(target, payload)
    return target


def obstacles(result: RunResult) -> list[str]:
    """Return why a valid result cannot be ranked."""
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
    elif resolve_tasks((result.task.name,), result.task.preset)[0].hash != result.task.hash:
        found.append("task.hash: not that of this task here; changed parameters are not ranked")
    if result.model.source == "local" and registry.checkpoint(result.model.name) is None:
        found.append("model.source: a local folder; only models that others can load are ranked")
    return found


def next_steps(target: Path) -> str:
    """Say what to do with a placed result."""
    return (
        f"{target} is in place. Next: git add {target}; git commit; open a pull request with "
        "nothing else in it. The file is then published under CC0-1.0."
    )
