"""References that are no estimate from masks go through a whole run: exact ones, and ones without halves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xbench import Call, ExecutionOptions, RunSpec, evaluate, registry
from xbench.case import Case
from xbench.description import Parameter, ReferenceDescription
from xbench.references.estimation import Sampling
from xbench.references.reference import Facts, Reference


@dataclass(frozen=True)
class Exact:
    """The loss of log-probability when one frame alone is hidden: nothing is drawn, so there are no halves."""

    values: np.ndarray

    def mean(self) -> np.ndarray:
        return self.values

    def halves(self) -> None:
        return None

    def facts(self) -> Facts:
        return Facts(neutral="zero vector")

    def to_artefact(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {"values": self.values}, {}


def leave_one_out(case: Case, sampling: Sampling, *, power: float = 1.0) -> Exact:
    import torch

    with torch.inference_mode():
        encoded = case.model.encode(case.features.values[None])
        keep = torch.ones(case.features.frames + 1, encoded.shape[1])
        keep[1:, : case.features.frames] -= torch.eye(case.features.frames)
        logits = case.model.logits(encoded * keep[..., None], case.hypothesis).log_softmax(-1)
        own = logits[:, range(len(case.hypothesis.tokens)), list(case.hypothesis.tokens)]
    return Exact(((own[0] - own[1:]).T.abs() ** power).numpy())


def restore(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Exact:
    return Exact(arrays["values"])


DESCRIPTION = ReferenceDescription(
    name="leave-one-out",
    version="1",
    summary="loss of log-probability without one frame",
    source="a test",
    implementation=f"{__name__}:leave_one_out",
    restore=f"{__name__}:restore",
    parameters=(Parameter("power", "float", "exponent", default=1.0),),
    space="encoder",
    estimator="exact",
)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = registry._load.__wrapped__

    def load(group: str, kind: type) -> tuple[Any, ...]:
        found: tuple[Any, ...] = plain(group, kind)
        if group == "xbench.references":
            point = EntryPoint("leave-one-out", f"{__name__}:DESCRIPTION", group)
            return (*found, registry._load_one(point, kind))
        return found

    monkeypatch.setattr(registry, "_load", load)


def test_a_reference_without_halves_is_scored_and_has_no_ceiling(
    registered: None, tiny_whisper_folder: Path, make_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    clips = make_manifest({"a": 0.5, "b": 0.7})
    spec = RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("mean-heads"),),
        tasks=("asr",),
        data=str(clips),
        references=(Call("leave-one-out"),),
        masks=12,  # bounds references that draw masks, and leaves this one alone
    )
    options = ExecutionOptions(str(tmp_path / "out"), str(tmp_path / "cache"), "cpu")
    (result,) = evaluate(spec, options)
    score = result.score("pearson", "leave-one-out")
    assert score.value is not None
    assert (score.ceiling.value, score.ceiling.reason) == (None, "no-halves")
    assert score.skill.value is None
    (record,) = result.references
    assert (record.reliability.value, record.masks, record.kept) == (None, [0, 0], None)
    assert record.neutral_value == "zero vector"
    assert record.masks_per_utterance is None
    (again,) = evaluate(spec, options)
    assert again.score("pearson", "leave-one-out").value == score.value


def test_it_keeps_the_protocol() -> None:
    assert isinstance(Exact(np.zeros((1, 2))), Reference)
    assert DESCRIPTION.most_passes(Call("leave-one-out")) is None
    assert DESCRIPTION.bounded(Call("leave-one-out"), 5) == Call("leave-one-out")
