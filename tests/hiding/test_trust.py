"""Masks that do nothing, or something else, are noticed before anything is estimated with them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wrapped_model import Wrapped
from xbench.case import Case
from xbench.errors import XbenchError
from xbench.hiding import trust as trust_module
from xbench.hiding.cells import EncoderFrames, SpectrogramCells
from xbench.hiding.effect import divergence
from xbench.hiding.passes import choose
from xbench.models.device import Precision
from xbench.models.families import whisper
from xbench.models.loading import load_model
from xbench.models.metered import MeteredModel
from xbench.references.estimation import Sampling
from xbench.references.spes import spes_encoder


@pytest.fixture
def loaded(tiny_whisper_folder: Path) -> Any:
    """Return a model that nobody has asked yet."""
    return load_model(f"whisper:{tiny_whisper_folder}", device="cpu")


@pytest.fixture
def case(loaded: Any, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]) -> Case:
    return case_of(loaded, clip(0.6, 3))


def test_a_keyword_that_goes_is_noticed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    # The decoder then projects the frames itself and takes them for entries of the batch.
    monkeypatch.setattr(whisper, "projected_once", lambda decoder, projected: {})
    with pytest.raises(XbenchError, match="hiding frames in it does not give") as refused:
        spes_encoder(case, Sampling(), masks=12, p=0.7)
    assert "\n" not in str(refused.value)


@dataclass(frozen=True)
class Deaf(Wrapped):
    """A model whose masks hide nothing, whose masks hide too much, or that refuses masks."""

    model: Any
    fault: str

    def frame_masking(self, encoded: Tensor, hypothesis: Any) -> Any:
        masked = self.model.frame_masking(encoded, hypothesis)

        def wrong(keep: Tensor) -> Tensor:
            if self.fault == "lost" and len(keep) > 1:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            if self.fault == "raises" and len(keep) > 1:
                raise RuntimeError("shape '[4, -1, 2, 16]' is invalid for input of size 96")
            if self.fault == "first mask for all":
                return masked(keep[:1].expand_as(keep))
            return masked(
                {"nothing": torch.ones_like(keep), "shifted": keep.roll(1, 1)}[self.fault]
            )

        return wrong


@pytest.mark.parametrize("fault", ["nothing", "shifted", "first mask for all", "raises"])
def test_every_kind_of_wrong_mask_is_refused(planted: Any, case_of: Any, fault: str) -> None:
    case = case_of(Deaf(planted, fault))
    with pytest.raises(XbenchError, match="no reference or intervention would be right"):
        choose(EncoderFrames(case), divergence)


def test_a_lost_device_is_no_fault_of_the_model(planted: Any, case_of: Any) -> None:
    case = case_of(Deaf(planted, "lost"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        choose(EncoderFrames(case), divergence)


def test_a_wrong_twin_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from xbench.hiding import twin

    def deaf(self: Any, clean: Any, passes: Any) -> Any:
        return lambda hidden: passes(torch.zeros_like(hidden))

    monkeypatch.setattr(twin.Twin, "beside", deaf)
    for cells in (EncoderFrames(case), SpectrogramCells(case)):
        with pytest.raises(XbenchError, match="does not give"):
            choose(cells, divergence, precision="bfloat16")


def test_it_is_asked_once_per_model_and_way_and_costs_no_clip_a_pass(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    difference = trust_module._difference

    def noted(cells: Any, precision: Precision) -> tuple[float, float]:
        asked.append(precision.name)
        return difference(cells, precision)

    monkeypatch.setattr(trust_module, "_difference", noted)
    passes = []
    for _ in range(2):
        metered = MeteredModel(case.model)
        choose(EncoderFrames(replace(case, model=metered)), divergence)
        passes.append(metered.passes.forward)
    assert asked == ["float32"]
    assert passes == [2, 2]  # clean, and the twin's clean
    choose(EncoderFrames(case), divergence, precision="bfloat16")
    choose(EncoderFrames(case, "channel-mean"), divergence)
    assert asked == ["float32", "bfloat16", "float32"]


def test_a_right_model_passes_in_every_precision_and_space(case: Case) -> None:
    for precision in ("float32", "bfloat16"):
        for cells in (EncoderFrames(case), SpectrogramCells(case), EncoderFrames(case, "minimum")):
            choose(cells, divergence, precision=precision)


def test_what_is_trusted_goes_with_the_model(tiny_whisper_folder: Path, case_of: Any) -> None:
    model = load_model(f"whisper:{tiny_whisper_folder}", device="cpu")
    number = id(model)
    choose(EncoderFrames(case_of(model)), divergence)
    assert trust_module._trusted[number]
    del model
    gc.collect()
    assert number not in trust_module._trusted


@dataclass(frozen=True)
class Small(Wrapped):
    """A model that has memory for one mask at a time."""

    model: Any

    def frame_masking(self, encoded: Tensor, hypothesis: Any) -> Any:
        masked = self.model.frame_masking(encoded, hypothesis)

        def limited(keep: Tensor) -> Tensor:
            if len(keep) > 1:
                raise RuntimeError("could not create a primitive")
            return masked(keep)

        return limited


def test_little_memory_is_no_wrong_mask(planted: Any, case_of: Any) -> None:
    case = case_of(Small(planted))
    chosen = choose(EncoderFrames(case), divergence)
    shift = chosen.measure(torch.eye(12, dtype=torch.bool))
    assert shift.value.shape == (12, 3)
    assert chosen.facts["batch_size"] == 1
