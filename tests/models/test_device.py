"""Devices differ in one table; what a device cannot do leaves passes as they are."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch

from xbench.models import device
from xbench.models.device import (
    BFLOAT16,
    CPU,
    CUDA,
    FLOAT16,
    FLOAT32,
    TF32,
    compiled,
    device_of,
    fast_precisions,
    precision_of,
)


def allowed() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_a_device_without_an_entry_runs_as_the_cpu() -> None:
    assert device_of("cpu") is device_of("mps") is CPU
    assert device_of("cuda:1") is device_of(torch.device("cuda")) is CUDA


def test_float32_rounds_no_input_of_a_product_and_tf32_does_and_both_leave_the_settings() -> None:
    before = allowed()
    seen = []
    for precision in (FLOAT32, TF32):
        with precision.products():
            seen.append(allowed())
        seen.append(precision.within(allowed)())
        assert allowed() == before
    assert seen == [(False, False), (False, False), (True, True), (True, True)]
    with pytest.raises(ZeroDivisionError), TF32.products():
        raise ZeroDivisionError
    assert allowed() == before


def test_precisions_say_how_far_numbers_lie_apart() -> None:
    assert precision_of(torch.float32) == FLOAT32
    assert precision_of(torch.bfloat16) == BFLOAT16
    assert (FLOAT16.eps, TF32.eps) == (2**-10, 2**-10)
    assert FLOAT32.eps < TF32.eps < BFLOAT16.eps


@pytest.mark.parametrize(
    ("capability", "names"),
    [((6, 1), []), ((7, 5), ["float16"]), ((8, 0), ["float16", "tf32"])],
)
def test_a_gpu_offers_what_it_has_in_hardware(
    capability: tuple[int, int], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda where: capability)
    assert [precision.name for precision in fast_precisions("cuda")] == names


def test_a_cpu_offers_bfloat16_only_where_it_multiplies_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)
    assert fast_precisions("cpu") == ()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert fast_precisions("cpu") == (BFLOAT16,)
    assert fast_precisions("mps") == ()


# -- compiling ------------------------------------------------------------------------------------


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A device that wants compiled functions, and a compiler that the test sets."""
    compiler: list[Any] = [lambda function: function]
    monkeypatch.setattr(device, "device_of", lambda where: replace(CPU, compiled=True))
    monkeypatch.setattr(torch, "compile", lambda function: compiler[0](function))
    device._say_once.cache_clear()
    return compiler


class NoCompiler(Exception):
    """As torch raises it."""


NoCompiler.__module__ = "torch._inductor.exc"


def test_a_cpu_compiles_nothing() -> None:
    assert compiled(len, "cpu") is len


def test_a_compiler_that_fails_is_told_once_and_passes_run_uncompiled(compiles: list[Any]) -> None:
    def failing(function: Any) -> Any:
        def run(*inputs: Any) -> Any:
            raise NoCompiler("Failed to find C compiler. Please specify via CC\nand a long trace")

        return run

    compiles[0] = failing
    double = compiled(lambda x: 2 * x, "cpu")
    with pytest.warns(RuntimeWarning, match="does not work here .Failed to find C compiler"):
        assert double(3) == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert double(4) == 8
        assert compiled(lambda x: x + 1, "cpu")(1) == 2


def test_what_the_function_itself_raises_is_raised(compiles: list[Any]) -> None:
    def broken(x: int) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        compiled(broken, "cpu")(1)
