"""A built site takes the place of the one before it by renaming; what no build made is carried over.

The site is written beside its target. Then the old folder is renamed away and the new one into its place. A build
that is killed between the two leaves its target missing: the next one finds the old folder beside it and puts it back.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Mapping, Set
from pathlib import Path

from xbench.errors import EnvironmentProblem

_OLD = "-old"
_STALE_SECONDS = 24 * 3600


def restore(target: Path) -> None:
    """Put back the site that a killed build had renamed away, and remove what killed builds left a day ago."""
    target = target.resolve()
    beside = [p for p in target.parent.glob(f".{target.name}-*") if p.is_dir()]
    # The newest, should builds have been killed more than once.
    old = sorted((p for p in beside if p.name.endswith(_OLD)), key=lambda p: p.stat().st_mtime)
    if old and not target.exists():
        old.pop().rename(target)
    for folder in beside:
        with contextlib.suppress(OSError):  # renamed above, or another build's
            if folder.stat().st_mtime < time.time() - _STALE_SECONDS:
                shutil.rmtree(folder)


def swap_in(files: Mapping[str, bytes], target: Path, ours: Set[str]) -> None:
    """Write files as the new content of a folder, whole or not at all; raises EnvironmentProblem.

    ours: paths in the target that a build made; all others are carried over.
    """
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        old = fresh.with_name(fresh.name + _OLD)
        try:
            fresh.chmod(0o755)
            for path, content in files.items():
                place = fresh / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            _carry_over(target, fresh, ours)
            if target.exists():
                target.rename(old)
            fresh.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            if old.exists() and not target.exists():  # interrupted between the two
                old.rename(target)
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as problem:
        raise EnvironmentProblem(
            f"cannot write {target}: {problem.strerror or problem}; choose another folder"
        ) from None


def _carry_over(target: Path, fresh: Path, ours: Set[str]) -> None:
    """Bring files that no build made into the new folder; ours and new ones win."""
    if not target.is_dir():
        return
    for file in sorted(target.rglob("*")):
        path = file.relative_to(target)
        if file.is_dir() or path.as_posix() in ours or (fresh / path).exists():
            continue
        (fresh / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, fresh / path, follow_symlinks=False)
