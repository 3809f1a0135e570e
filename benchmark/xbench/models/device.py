"""How passes over hidden cells run best on each kind of device: the one place where devices differ.

A reference takes thousands of passes, so it pays to run them as the hardware likes it. What that is was measured, and
the two entries below (`CPU`, `CUDA`) say it side by side; a device without an entry (MPS) takes the CPU's.
Everything else asks `device_of` and has no case for a device of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, ParamSpec, TypeVar

import torch

from xbench.errors import message

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Precision:
    """In which numbers the products of perturbed passes are computed.

    dtype: of weights and inputs of the products. tf32: products of float32 numbers may round their inputs to 10 bits of
    mantissa (TensorFloat-32, NVIDIA from Ampere on); sums stay float32.
    """

    name: str
    dtype: torch.dtype
    tf32: bool = False

    @property
    def eps(self) -> float:
        """The relative distance between neighbouring numbers."""
        return 2.0**-10 if self.tf32 else torch.finfo(self.dtype).eps

    @contextmanager
    def products(self) -> Iterator[None]:
        """Allow or forbid TF32 within the context; PyTorch allows it in convolutions unless told otherwise."""
        owners: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
        name = "allow_tf32"
        wanted: bool | str = self.tf32
        try:
            before = [getattr(owner, name) for owner in owners]
        except RuntimeError:
            # Somebody set torch's newer names of the same, which it refuses to mix with the older.
            owners = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
            name, wanted = "fp32_precision", "tf32" if self.tf32 else "ieee"
            before = [getattr(owner, name) for owner in owners]
        for owner in owners:
            setattr(owner, name, wanted)
        try:
            yield
        finally:
            for owner, value in zip(owners, before, strict=True):
                setattr(owner, name, value)

    def within(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function, run under `products`."""

        def call(*inputs: P.args, **named: P.kwargs) -> R:
            with self.products():
                return function(*inputs, **named)

        return call


FLOAT32 = Precision("float32", torch.float32)
TF32 = Precision("tf32", torch.float32, tf32=True)
BFLOAT16 = Precision("bfloat16", torch.bfloat16)
FLOAT16 = Precision("float16", torch.float16)
PRECISIONS = {p.name: p for p in (FLOAT32, TF32, BFLOAT16, FLOAT16)}


def precision_of(dtype: torch.dtype) -> Precision:
    """Return the precision of a model whose weights have this type."""
    name = str(dtype).removeprefix("torch.")
    return PRECISIONS.get(name) or Precision(name, dtype)


@dataclass(frozen=True)
class Device:
    """One kind of device, and how passes run best on it.

    fast: precisions to try where the choice is left open, the fastest first; float32 is taken when none passes its
    check. rows: positions of all masks of a batch together, beyond which a batch is no faster, only larger. masks: the
    most masks in a batch. tries_larger: start with a quarter of that, and double while it pays and memory lasts.
    vocabulary_numbers: rows times vocabulary entries that are worked on at once. vocabulary_multiple: the embeddings
    are filled up with rows of zeros to a multiple of this. written_out: scores of attention that are worked on at once,
    as products with a softmax between them; None leaves attention to the fused kernel (SDPA). compiled: whether
    `torch.compile` makes kernels of encoder layers and of the divergence. linear_as_convolution: linear layers in
    bfloat16 run as convolutions of width one. draws_masks: random masks are drawn on the device (`hiding.philox`), not
    by numpy; they are the same. affordable_seconds: a run of the preset `fast` that would take longer leaves out the
    references that cost most (`runner.estimate`); None: no limit.
    """

    name: str
    fast: tuple[Precision, ...]
    rows: int
    masks: int
    tries_larger: bool
    vocabulary_numbers: int
    vocabulary_multiple: int
    written_out: int | None
    compiled: bool
    linear_as_convolution: bool
    draws_masks: bool
    affordable_seconds: float | None


CPU = Device(
    name="cpu",
    fast=(BFLOAT16,),
    rows=6144,
    masks=64,
    tries_larger=False,
    vocabulary_numbers=2**20,  # in float32 they fit a core's share of the cache
    vocabulary_multiple=1,
    written_out=4_500_000,  # in bfloat16 they fit the cache that all cores share
    compiled=False,  # 10 to 40 seconds of a C++ compiler for a tenth of the time
    linear_as_convolution=True,  # oneDNN blocks them better, and adds the bias within (perf/encoders.md)
    draws_masks=False,
    affordable_seconds=4 * 3600.0,
)
CUDA = Device(
    name="cuda",
    fast=(FLOAT16, TF32),
    rows=65_536,
    masks=2048,
    tries_larger=True,
    vocabulary_numbers=2**30,  # each block is a launch of several kernels
    vocabulary_multiple=128,  # products of an odd width run at a seventh of the speed
    written_out=None,
    compiled=True,
    linear_as_convolution=False,
    draws_masks=True,
    affordable_seconds=None,
)


def device_of(device: torch.device | str) -> Device:
    """Return how passes run best on a device."""
    return CUDA if torch.device(device).type == "cuda" else CPU


def fast_precisions(device: torch.device | str) -> tuple[Precision, ...]:
    """Return the precisions of `Device.fast` that this very device computes in hardware."""
    return tuple(p for p in device_of(device).fast if _in_hardware(p, torch.device(device)))


def _in_hardware(precision: Precision, device: torch.device) -> bool:
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return bool(major >= (7 if precision == FLOAT16 else 8))
    if device.type == "cpu" and precision == BFLOAT16:
        # Private names of torch, without public ones that say the same. An absent probe (another architecture,
        # another torch) means: not known to be fast.
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
    return False


def wait(device: torch.device) -> None:
    """Return when all that was started on the device is done: clocks around passes need it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    """Give memory that is held without use back to the device, after it ran out."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def lost(problem: BaseException) -> bool:
    """Say whether an exception means that the accelerator no longer answers: no later pass on it can succeed."""
    says = message(problem)
    return (
        isinstance(problem, RuntimeError)
        and ("CUDA error" in says or "CUDA driver error" in says)
        and "out of memory" not in says
    )


def compiled(function: Callable[P, R], device: torch.device | str) -> Callable[P, R]:
    """Return the function as `torch.compile` makes it where the device wants that, else the function itself.

    Where there is no compiler, or it fails, the function runs as it is from then on, and a warning says so once.
    """
    if not device_of(device).compiled:
        return function
    return _Compiled(function)


class _Compiled:
    """A function that compiles itself at its first call, and runs as it is where that fails."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._plain = function
        self._run: Callable[..., Any] = torch.compile(function)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if self._run is self._plain:
            return self._plain(*inputs, **named)
        try:
            return self._run(*inputs, **named)
        except Exception as problem:
            if not _of_the_compiler(problem):
                raise
            self._run = self._plain
            _say_once(_first_line(problem))
        return self._plain(*inputs, **named)


def _of_the_compiler(problem: Exception) -> bool:
    """Say whether compiling failed, not what was compiled."""
    packages = ("torch._dynamo", "torch._inductor", "triton")
    return type(problem).__module__.startswith(packages)


@cache
def _say_once(reason: str) -> None:
    import warnings

    warnings.warn(
        f"torch.compile does not work here ({reason}); passes run uncompiled, which takes longer and changes "
        "no result beyond rounding",
        RuntimeWarning,
        stacklevel=2,
    )


def _first_line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
