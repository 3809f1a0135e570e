"""Place a result file under submissions/, unchanged, after every check that a reviewer would make."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from xbench import registry
from xbench.authorship import Authorship
from xbench.claims import examine
from xbench.claims.standing import obstacles
from xbench.claims.together import Shared, disagreements, shared
from xbench.errors import UsageError, XbenchError
from xbench.inputs import RESULT_BYTES, parse_json, read_plain
from xbench.results import RunResult, parse_result, read_result
from xbench.schemas import InvalidFile
from xbench.store import write_atomically


def submit(file: Path, folder: Path, *, local: bool = False) -> Path:
    """Copy one result to `<task>/<model>/<method>-<hash>.json` under `folder`; return where it lies.

    local: place it also where others cannot make it again (clips of `--data`, a model in a folder); the site says so.

    Raises UsageError when the file is no valid result, a claim does not follow from its columns, it is not
    complete, the folder is missing, results of other methods there contradict it, or another result already lies there.
    """
    payload = read_plain(file, RESULT_BYTES)
    try:
        data = parse_json(payload)
    except ValueError as problem:
        raise UsageError(f"{file}: not valid JSON: {problem}") from None
    result = parse_result(data, str(file))
    findings = examine(result)
    kept_out = [o for o in obstacles(result, findings) if not (local and o.kind == "local")]
    found = [*findings.problems, *map(str, kept_out)]
    if kept_out and not findings.problems and {o.kind for o in kept_out} == {"local"}:
        found.append("others cannot make it again: `--local` places it as a row that says so")
    if found:
        raise InvalidFile(str(file), found)
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {folder}; make it, name another with --to, or run this in a checkout of xbench"
        )
    target = folder / result.path()
    if os.path.lexists(target) and read_plain(target, RESULT_BYTES) != payload:
        raise UsageError(
            f"{target}: another result of this run lies there; remove it first if yours replaces it"
        )
    if against := disagreements({str(file): shared(result), **_beside(target)}).get(str(file)):
        raise InvalidFile(str(file), against)
    write_atomically(target, payload)
    return target


def _beside(target: Path) -> dict[str, Shared]:
    """Return what results of the same task and model say of their run; one that cannot be read says nothing."""
    found = {}
    for path in sorted(target.parent.glob("*.json")):
        if path != target:
            with contextlib.suppress(XbenchError):
                found[str(path)] = shared(read_result(path))
    return found


def next_steps(target: Path) -> str:
    """Say what to do with a placed result, and what a reviewer will ask for that it does not name."""
    told = (
        f"{target} is in place. Next: git add {target}; git commit; open a pull request with "
        "nothing else in it. The file is then published under CC0-1.0."
    )
    lacking = _lacking(read_result(target))
    if not lacking:
        return told
    return (
        f"{told}\nIt names no {' and no '.join(lacking)} of its method, and only methods whose code is public are "
        "accepted (CONTRIBUTING.md): state them in the description or in the package's pyproject.toml, and evaluate "
        "again."
    )


def _lacking(result: RunResult) -> list[str]:
    """Return what a result does not say of the code of a method that is not ours."""
    method, made_by = result.method, result.method.authorship or Authorship()
    foreign = any(
        plugin["kind"] == "method"
        and plugin["name"] == method.name
        and plugin["distribution"] != registry.OURS
        for plugin in result.provenance.plugins
    )
    stated = {"link to the code": made_by.code, "licence": made_by.licence}
    return [name for name, value in stated.items() if foreign and not value]
