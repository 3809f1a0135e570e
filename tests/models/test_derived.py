"""Networks made out of a loaded network are made once, and are gone when it is gone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xbench.hiding.twin import twin
from xbench.models.derived import OncePerNetwork, once_per_network
from xbench.models.loading import load_model
from xbench.models.metered import MeteredModel
from xbench.testing.small import write_small

Watched = dict[str, "weakref.ref[nn.Module]"]


@pytest.fixture(params=["whisper", "speech_to_text"])
def load(
    request: pytest.FixtureRequest, another_tiny_whisper: Callable[..., Path], tmp_path: Path
) -> Callable[[str], Any]:
    """Return a function that loads a new model of a family; its argument names the folder."""

    def loaded(name: str) -> Any:
        if request.param == "whisper":
            return load_model(f"whisper:{another_tiny_whisper(tmp_path / name, 5)}", device="cpu")
        return load_model(
            f"{request.param}:{write_small(request.param, tmp_path / name)}", device="cpu"
        )

    return loaded


@torch.inference_mode()
def used(model: Any) -> Watched:
    """Make all that a run makes of a model and let it work; return weak references to the networks."""
    features = model.features(0.1 * np.sin(np.arange(16000) / 9).astype(np.float32))
    networks: dict[str, nn.Module] = {"own": model.network}
    for name, other in (("randomised", model.randomised(1)), ("metered", MeteredModel(model))):
        for dtype in (torch.float32, torch.bfloat16):
            found: Any = twin(other, dtype)
            with found.clean_pass():
                found.model.encode(features.values[None])
            networks[f"twin of {name} in {dtype}"] = found.model.network
    networks["randomised"] = model.randomised(1).network
    return {name: weakref.ref(network) for name, network in networks.items()}


def alive(watched: Watched) -> list[str]:
    gc.collect()
    return [name for name, network in watched.items() if network() is not None]


def test_the_weights_of_a_model_do_not_outlive_it(load: Callable[[str], Any]) -> None:
    first = load("first")
    of_first = used(first)
    assert alive(of_first) == list(of_first)
    second = load("second")
    del first
    assert alive(of_first) == []
    of_second = used(second)
    assert alive(of_second) == list(of_second)


def test_a_model_around_another_network_has_its_own_twins(load: Callable[[str], Any]) -> None:
    model = load("one")
    other = model.randomised(1)
    for dtype in (torch.float32, torch.bfloat16):
        own, others = twin(model, dtype), twin(other, dtype)
        assert own is not None
        assert others is not None
        assert not torch.equal(own.embeddings, others.embeddings)
        again: Any = twin(model, dtype)
        assert again.model.network is own.model.network  # type: ignore[attr-defined]
        assert again.changes is own.changes


def boxed(network: nn.Module, key: str) -> list[str]:
    return [key]


def test_results_are_kept_per_network_and_key_and_the_oldest_go_first() -> None:
    kept: OncePerNetwork[str, list[str]] = once_per_network(at_most=2)(boxed)
    one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    a, b = kept(one, "a"), kept(one, "b")
    assert kept(one, "a") is a
    assert kept(other, "a") is not a
    kept(one, "c")
    assert kept(one, "b") is b
    assert kept(one, "a") is not a
    b = kept(one, "b")
    kept.cache_clear()
    assert kept(one, "b") is not b
