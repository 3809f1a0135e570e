from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from xbench.results import (
    CeilingRecord,
    Cost,
    DatasetRecord,
    Interval,
    MethodRecord,
    ModelRecord,
    Provenance,
    QualityRecord,
    RunResult,
    ScoreRecord,
    TaskRecord,
)

SCORED = "pearson@spes-encoder"


def build(
    name: str,
    values: Sequence[float | None],
    *,
    kind: str = "attention",
    model: str = "m",
    task: str = "t",
    cost: float | None = 0.1,
    direction: str = "higher",
    **params: float,
) -> RunResult:
    defined = [v for v in values if v is not None]
    value = sum(defined) / len(defined) if defined else None
    bound = Interval(0.1, None, None, "none")
    score = ScoreRecord(
        metric="pearson",
        reference="spes-encoder",
        value=value,
        reason=None if defined else "constant-map",
        ci=[value - 0.1, value + 0.1] if value is not None else None,
        ci_reason=None,
        n=len(defined),
        n_clusters=len(defined),
        clusters_assumed=False,
        undefined={},
        floor=bound,
        ceiling=CeilingRecord(0.9, [0.8, 1.0], None, None, None, None),
        skill=bound,
        disattenuated=bound,
        direction=direction,  # type: ignore[arg-type]
    )
    return RunResult(
        status="complete",
        reason=None,
        task=TaskRecord(
            name=task,
            version=1,
            hash="h",
            kind="asr",
            source_language=["en"],
            target_language=None,
            preset="fast",
            split="test",
            selection={},
            scoring={},
            decoding={},
            headline={"metric": "pearson", "reference": "spes-encoder"},
            floor="diagonal",
            dataset=DatasetRecord("clips", None, "f", len(values)),
        ),
        model=ModelRecord(model, "local", "r", "W", 1, "float32", False),
        method=MethodRecord(name, "1", params, kind, "encoder", False, False, True),
        references=[],
        quality=QualityRecord("wer", 0.0, 1, 0, 50.0, None),
        scores=[score],
        utterances={
            "id": [f"u{i}" for i in range(len(values))],
            "cluster": [f"c{i}" for i in range(len(values))],
            SCORED: list(values),
        },
        failures=[],
        cost=Cost(1, 0, 1.0, cost, 1, "cpu"),
        provenance=Provenance("0", "3", {}, None, [], [], 0, "0" * 64, "a", "b"),
    )


@pytest.fixture(scope="session")
def make_result() -> Callable[..., RunResult]:
    return build
