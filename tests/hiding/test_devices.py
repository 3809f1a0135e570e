"""A reference is the same whichever device's way of running passes is taken; a GPU's way is tried here on the CPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.hiding import batching, effect, masks, twin
from xbench.hiding.effect import Shift, padded
from xbench.models import device, masked_attention
from xbench.models.device import CPU, CUDA, FLOAT16, TF32, Device
from xbench.references.estimation import Sampling
from xbench.references.spes import spes_encoder, spes_input
from xbench.spec import Decoding

UNCOMPILED = replace(CUDA, compiled=False)


@pytest.fixture
def runs_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Device], None]:
    """Make passes on the CPU run as on another device."""

    def patch(entry: Device) -> None:
        for module in (batching, device, effect, masks, masked_attention, twin):
            monkeypatch.setattr(module, "device_of", lambda where: entry)
        twin._twin.cache_clear()

    yield patch  # type: ignore[misc]
    twin._twin.cache_clear()


@pytest.fixture(scope="module")
def digits(micro: Any, shared_folder: Any) -> Case:
    audio = read_audio(shared_folder / "audio" / "en-digits-theo.flac", 16_000)
    features = micro.features(audio)
    return Case(micro, features, micro.decode(features, "en", None, Decoding()), "digits")


def references(case: Case, **options: Any) -> list[Any]:
    """Both references, by the estimators that need most."""
    slic = {"rates": "60+90", "compactness": 0.1, "sigma": 0.0, "cap_seconds": 7.5}
    frames: dict[str, Any] = {"estimator": "window-control-variate", "masks": 600, "p": 0.7}
    return [
        spes_encoder(case, Sampling(), **frames, **options),
        spes_input(case, Sampling(), masks=48, p=0.5, **slic, **options),  # type: ignore[arg-type]
    ]


def test_a_gpu_way_gives_the_references_of_the_cpu(
    tiny: Any, case_of: Any, clip: Any, runs_as: Callable[[Device], None]
) -> None:
    case = case_of(tiny, clip(0.7, 3))
    ours = references(case)
    runs_as(UNCOMPILED)
    for own, other in zip(ours, references(case), strict=True):
        np.testing.assert_array_equal(own.counts, other.counts)
        np.testing.assert_allclose(
            own.mean(), other.mean(), rtol=0, atol=1e-4 * np.abs(own.mean()).max()
        )
        np.testing.assert_array_equal(own.kept, other.kept)


def test_batches_of_a_gpu_cover_several_blocks_and_stop_at_the_same_mask(
    tiny: Any, case_of: Any, clip: Any, runs_as: Callable[[Device], None]
) -> None:
    case = case_of(tiny, clip(0.7, 3))

    def made(**options: Any) -> Any:
        return spes_encoder(case, Sampling(), masks=4000, p=0.7, **options)

    ours = [made(), made(until=0.6)]
    runs_as(UNCOMPILED)
    others = [made(), made(until=0.6)]
    assert [r.masks for r in ours] == [r.masks for r in others]
    assert [r.converged for r in ours] == [r.converged for r in others] == [None, True]
    assert others[0].computation["batch_size"] > CPU.masks


@pytest.mark.parametrize("precision", ["float16", "tf32"])
def test_the_precisions_of_a_gpu_give_its_map(
    precision: str, digits: Case, runs_as: Callable[[Device], None]
) -> None:
    exact = references(digits)
    runs_as(UNCOMPILED)
    for own, other in zip(exact, references(digits, precision=precision), strict=True):
        assert other.computation["precision"] == precision
        for row in digits.hypothesis.content:
            one, two = (r.mean()[row].ravel() for r in (own, other))
            assert np.corrcoef(one, two)[0, 1] > 0.9995


def test_auto_tries_the_precisions_of_the_device_in_their_order(
    digits: Case, runs_as: Callable[[Device], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xbench.hiding import passes

    runs_as(UNCOMPILED)
    monkeypatch.setattr(passes, "fast_precisions", lambda where: (FLOAT16, TF32))
    tried = []
    judge = passes.checks.rounding

    def refusing(exact: Any, fast: Any, hidden: Any) -> Any:
        found = judge(exact, fast, hidden)
        tried.append(found)
        return replace(found, noise=1.0) if len(tried) == 1 else found

    found = spes_encoder(digits, Sampling(), masks=48, p=0.7, precision="auto")
    assert found.computation["precision"] == "float16"
    monkeypatch.setattr(passes.checks, "rounding", refusing)
    found = spes_encoder(digits, Sampling(), masks=48, p=0.7, precision="auto")
    assert (found.computation["precision"], len(tried)) == ("tf32", 2)


def test_memory_that_runs_out_on_the_way_shrinks_the_batch_and_is_recorded(
    tiny: Any,
    case_of: Any,
    clip: Any,
    runs_as: Callable[[Device], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = case_of(tiny, clip(0.7, 3))
    whole = spes_encoder(case, Sampling(), masks=1200, p=0.7)
    runs_as(UNCOMPILED)
    reduce = effect.block_sums

    def small_gpu(d: torch.Tensor, *rest: torch.Tensor) -> Any:
        if len(d) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return reduce(d, *rest)

    monkeypatch.setattr(effect, "block_sums", small_gpu)
    found = spes_encoder(case, Sampling(), masks=1200, p=0.7)
    assert found.computation["batch_size"] <= 100
    assert found.masks == whole.masks
    np.testing.assert_allclose(found.sums, whole.sums, rtol=1e-3, atol=1e-4)


# -- pieces ---------------------------------------------------------------------------------------


def test_embeddings_are_filled_up_to_a_multiple() -> None:
    embeddings = torch.randn(51, 4)
    filled = padded(embeddings, 16)
    assert filled.shape == (64, 4)
    assert torch.equal(filled[:51], embeddings)
    assert not filled[51:].any()
    assert padded(embeddings, 1) is embeddings
    assert padded(filled, 16) is filled  # filled up already


def test_filling_is_in_no_sum(runs_as: Callable[[Device], None]) -> None:
    torch.manual_seed(0)
    embeddings, states = torch.randn(51, 4), 50 * torch.randn(3, 2, 4)
    clean = effect.Clean(states[0] @ embeddings.T, torch.tensor([1, 50]))
    hidden = torch.zeros(3, 1, dtype=torch.bool)

    def shift(rows: torch.Tensor) -> Shift:
        return effect.from_states(effect.divergence, clean, states[0], rows, lambda _: states)(
            hidden
        )

    plain = shift(embeddings)
    for entry in (CPU, UNCOMPILED):
        runs_as(entry)
        filled = shift(padded(embeddings, 16))
        torch.testing.assert_close(filled.value, plain.value)
        assert torch.equal(filled.kept, plain.kept)


# In a process of its own: the types that tests check at run time cannot be compiled.
COMPILED = """
from dataclasses import replace
import torch
from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.data.demo import demo_manifest
from xbench.hiding import batching, effect, masks, twin
from xbench.models import device, masked_attention
from xbench.models.loading import load_model
from xbench.references.estimation import Sampling
from xbench.references.spes import spes_input
from xbench.spec import Decoding

model = load_model("xbench-tiny", device="cpu")
audio = read_audio(demo_manifest("test").parent / "audio" / "de-0001.flac", 16_000)
features = model.features(audio)
case = Case(model, features, model.decode(features, "de", None, Decoding()), "compiled")
compiled, compile = [], torch.compile
torch.compile = lambda function: compiled.append(function) or compile(function)
found = []
for entry in (replace(device.CUDA, compiled=False), device.CUDA):
    for module in (batching, device, effect, masks, masked_attention, twin):
        module.device_of = lambda where: entry
    twin._twin.cache_clear()
    reference = spes_input(
        case, Sampling(), masks=24, p=0.5, rates="60", compactness=0.1, sigma=0.0, cap_seconds=7.5,
        precision="float16",
    )
    found.append(torch.from_numpy(reference.mean()))
    print(len(compiled), "compiled")
difference = (found[0] - found[1]).abs().max() / found[0].abs().max()
assert 1 + len(model.network.model.encoder.layers) <= len(compiled), len(compiled)
assert difference < 0.02, difference
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
def test_compiled_passes_give_the_reference_of_plain_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", COMPILED],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
