"""A plan is made once per run: making it reads every clip to hash it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import Run
from xbench.results import load_results
from xbench.runner.verify import verify

CLIPS = {"a": 0.6, "b": 0.7}
ONCE = {"a.wav": 1, "b.wav": 1}


@pytest.fixture
def data(make_manifest: Callable[..., Path]) -> Path:
    fields = {"language": "it", "translation_en": "one"}
    return make_manifest(CLIPS, {"a": fields, "b": fields})


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each audio file was read to hash it."""
    counts: Counter[str] = Counter()
    digest = hashlib.file_digest

    def counting(file: Any, *arguments: Any) -> Any:
        name = Path(f"/proc/self/fd/{file.fileno()}").readlink().name  # it was opened by number
        if name.endswith(".wav"):
            counts[name] += 1
        return digest(file, *arguments)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return counts


def evaluation(model: Path, data: Path, folder: Path, *more: str) -> list[str]:
    places = ["--output", f"{folder}/results", "--cache", f"{folder}/cache"]
    chosen = ["--method", "uniform", "--masks", "12", "--metric", "pearson"]
    where = ["--model", f"whisper:{model}", "--data", str(data)]
    return ["eval", *where, *chosen, *places, "--task", "asr", *more]


@pytest.mark.parametrize("more", [(), ("--task", "st"), ("--plan",)], ids=str)
def test_eval_hashes_every_clip_once(
    run: Run,
    tiny_whisper_folder: Path,
    data: Path,
    tmp_path: Path,
    hashed: Counter[str],
    more: tuple[str, ...],
) -> None:
    done = run(*evaluation(tiny_whisper_folder, data, tmp_path, *more))
    assert done.code == 0, done.err
    assert hashed == ONCE


def test_verify_hashes_every_clip_once(
    run: Run, tiny_whisper_folder: Path, data: Path, tmp_path: Path, hashed: Counter[str]
) -> None:
    run(*evaluation(tiny_whisper_folder, data, tmp_path))
    (result,) = load_results(tmp_path / "results")
    hashed.clear()
    where = {"model": f"whisper:{tiny_whisper_folder}", "data": str(data), "device": "cpu"}
    assert all(row.agrees for row in verify(result, **where))
    assert hashed == ONCE
