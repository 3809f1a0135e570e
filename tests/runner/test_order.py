"""The order of clips in the manifest decides nothing: neither what is computed nor what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from xbench import Call, ExecutionOptions, RunResult, RunSpec, evaluate
from xbench.errors import Unsupported
from xbench.methods import attention

CLIPS = {"a": 0.6, "b": 0.8, "c": 0.7}
FRAMES = {"a": 30, "b": 40, "c": 35}


@pytest.fixture
def spec(tiny_whisper_folder: Path, make_manifest: Callable[..., Path]) -> RunSpec:
    return RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("max-heads"), Call("mean-heads"), Call("shuffled")),
        tasks=("asr",),
        data=str(make_manifest(CLIPS)),
        masks=24,
        references=(Call("spes-encoder"),),
        metrics=(Call("pearson"), Call("comprehensiveness"), Call("sensitivity-n")),
    )


def failing_on(monkeypatch: pytest.MonkeyPatch, why: dict[str, Exception]) -> None:
    """Let max-heads fail on some clips."""
    whole = attention.max_heads
    by_frames = {FRAMES[name]: problem for name, problem in why.items()}

    def partly(trace: Any, **params: Any) -> Any:
        if trace.layout.frames in by_frames:
            raise by_frames[trace.layout.frames]
        return whole(trace, **params)

    monkeypatch.setattr(attention, "max_heads", partly)


def by_utterance(result: RunResult) -> dict[str, Any]:
    """Return what a result says, its rows sorted by utterance."""
    plain = asdict(result)
    del plain["provenance"]
    for one in (plain["cost"], *plain["references"]):
        for timed in ("seconds", "seconds_per_audio_second", "peak_memory_bytes"):
            one.pop(timed, None)
    columns = plain.pop("utterances")
    plain["rows"] = sorted(
        (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)),
        key=lambda row: row["id"],
    )
    return plain


def reverse(manifest: str | None) -> None:
    path = Path(manifest or "")
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")


def test_reversed_clips_give_the_same_results_and_artefacts(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_on(monkeypatch, {"b": Unsupported("no map of b")})
    runs = []
    for name in ("forwards", "backwards"):
        cache = tmp_path / name
        results = evaluate(spec, ExecutionOptions(str(tmp_path / "r"), str(cache), "cpu"))
        stored = {path.relative_to(cache) for path in cache.rglob("*.json")}
        runs.append((list(map(by_utterance, results)), stored))
        reverse(spec.data)
    (forwards, stored), (backwards, stored_backwards) = runs
    assert [(r["status"], r["reason"]) for r in forwards] == [
        ("unsupported", "no map of b"),
        ("complete", None),
        ("complete", None),
    ]
    assert stored == stored_backwards
    for first, second in zip(forwards, backwards, strict=True):
        assert second == first


def test_a_method_fails_with_the_reason_of_the_first_clip_of_the_manifest(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_on(monkeypatch, {"b": KeyError("boom"), "c": Unsupported("no map of c")})
    spec = replace(spec, methods=spec.methods[:1], metrics=(Call("pearson"),))
    reasons = []
    for _ in range(2):
        options = ExecutionOptions(str(tmp_path / "r"), str(tmp_path / "cache"), "cpu")
        (result,) = evaluate(spec, options)
        reasons.append(result.reason)
        reverse(spec.data)
    assert reasons == ["it failed on b: KeyError: 'boom'", "no map of c"]
