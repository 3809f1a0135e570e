"""Place a result file under submissions/, unchanged, after every check that a reviewer would make."""

from __future__ import annotations

import os
from pathlib import Path

from xbench.claims import examine
from xbench.claims.standing import obstacles
from xbench.errors import UsageError
from xbench.inputs import RESULT_BYTES, parse_json, read_plain
from xbench.results import parse_result
from xbench.schemas import InvalidFile
from xbench.store import write_atomically


def submit(file: Path, folder: Path, *, local: bool = False) -> Path:
    """Copy one result to `<task>/<model>/<method>-<hash>.json` under `folder`; return where it lies.

    local: place it also where others cannot make it again (clips of `--data`, a model in a folder); the site says so.

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
    kept_out = [o for o in obstacles(result, findings) if not (local and o.kind == "local")]
    found = [*findings.problems, *map(str, kept_out)]
    if kept_out and not findings.problems and {o.kind for o in kept_out} == {"local"}:
        found.append("others cannot make it again: `--local` places it as a row that says so")
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


def next_steps(target: Path) -> str:
    """Say what to do with a placed result."""
    return (
        f"{target} is in place. Next: git add {target}; git commit; open a pull request with "
        "nothing else in it. The file is then published under CC0-1.0."
    )
