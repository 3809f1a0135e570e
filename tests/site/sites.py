"""Built sites that several tests look at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthetic import METHODS, MORE_SCORES, head, result, write

from xbench.site.build import build
from xbench.site.check import problems


def some_results() -> list[dict[str, Any]]:
    """Return 44 results: two tasks, two models, methods and single heads, two families of scores."""
    heads = [head(layer, number) for layer in range(2) for number in range(2)]
    return [
        result(task, model, method, scores=MORE_SCORES[:2] + MORE_SCORES[4:])
        for task in ("task-a", "task-b")
        for model in ("model-a", "model-b")
        for method in (*METHODS[:6], METHODS[11], *heads)
    ]


def check_site(folder: Path, results: Sequence[dict[str, Any]]) -> Path:
    """Build the site of these results, see that it is sound, and return its folder."""
    build([write(folder / "results", results)], folder / "out")
    assert problems(folder / "out") == []
    return folder / "out"


def tree(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
