"""Code of others leaves the process as it was: what it changed is named and put back, and its threads end."""

from __future__ import annotations

import builtins
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from xbench.errors import Unsupported
from xbench.methods.isolation import not_left
from xbench.surroundings import undisturbed


class Model:
    def encode(self) -> int:
        return 1


def patch_tensor() -> None:
    torch.Tensor.mean = lambda self, *given: self  # type: ignore[method-assign, assignment]


def patch_numpy() -> None:
    np.mean = lambda values: 0  # type: ignore[assignment]


def patch_part_of_torch() -> None:
    torch.special.entr = lambda values: values * 0  # type: ignore[assignment]


def patch_part_of_numpy() -> None:
    np.linalg.norm = lambda *given, **named: 1.0  # type: ignore[assignment]


def replace_module() -> None:
    sys.modules["torch.fft"] = types.ModuleType("torch.fft")


def patch_model() -> None:
    Model.encode = lambda self: 2  # type: ignore[method-assign]


def add_to_model() -> None:
    Model.features = lambda self: 3  # type: ignore[attr-defined]


def patch_builtin() -> None:
    builtins.len = lambda values: 0  # type: ignore[assignment]


BEGUN: list[Any] = []  # a context manager that is thrown away ends


class Everywhere(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, given: Any = (), named: Any = None
    ) -> Any:
        return function(*given, **(named or {}))


class Operations(TorchDispatchMode):
    def __torch_dispatch__(
        self, function: Any, types: Any, given: Any = (), named: Any = None
    ) -> Any:
        return function(*given, **(named or {}))


def begin(manager: Callable[[], Any]) -> Callable[[], None]:
    def step() -> None:
        BEGUN.append(manager())
        BEGUN[-1].__enter__()

    return step


def replace_kernel() -> None:
    BEGUN.append(torch.library.Library("aten", "IMPL"))
    BEGUN[-1].impl("_softmax", lambda values, *given: values * 0, "CPU")


def forget_places() -> None:
    sys.path.clear()


CHANGES: dict[str, tuple[Callable[[], Any], str, Callable[[], Any]]] = {
    "method of tensors": (patch_tensor, "'mean' of Tensor", lambda: torch.ones(2).mean().tolist()),
    "function of numpy": (patch_numpy, "'mean' of numpy", lambda: np.mean([1, 3])),
    "part of torch": (
        patch_part_of_torch,
        "'entr' of torch.special",
        lambda: torch.special.entr(torch.ones(1) / 2).item(),
    ),
    "part of numpy": (
        patch_part_of_numpy,
        "'norm' of numpy.linalg",
        lambda: np.linalg.norm([3.0, 4.0]),
    ),
    "module": (replace_module, "the module 'torch.fft'", lambda: id(sys.modules["torch.fft"])),
    "function of Python": (patch_builtin, "'len' of builtins", lambda: len([1, 2])),
    "method of a model": (patch_model, "'encode' of Model", lambda: Model().encode()),
    "more of a model": (add_to_model, "'features' of Model", lambda: hasattr(Model, "features")),
    "kernel of an operation": (
        replace_kernel,
        "the kernels of torch's operations",
        lambda: torch.ones(2).softmax(0).tolist(),
    ),
    "kernels": (
        begin(lambda: sdpa_kernel(SDPBackend.MATH)),
        "torch's kernels of",
        torch.backends.cuda.flash_sdp_enabled,
    ),
    "oneDNN": (
        lambda: setattr(torch.backends.mkldnn, "enabled", False),
        "whether torch uses oneDNN",
        lambda: torch.backends.mkldnn.enabled,
    ),
    "anomalies": (
        lambda: torch.autograd.set_detect_anomaly(True),
        "whether torch looks for anomalies",
        torch.is_anomaly_enabled,
    ),
    "denormal": (
        lambda: torch.set_flush_denormal(True),
        "whether numbers near zero become zero",
        lambda: torch.tensor(1e-40).mul(1).item() == 0,
    ),
    "recursion": (lambda: sys.setrecursionlimit(500), "Python's limit", sys.getrecursionlimit),
    "garbage": (gc.disable, "whether Python collects garbage", gc.isenabled),
    "Ctrl-C": (
        # A function of its own: in a shell's background, Ctrl-C is ignored already.
        lambda: signal.signal(signal.SIGINT, lambda *_: None),
        "what happens on Ctrl-C",
        lambda: signal.getsignal(signal.SIGINT),
    ),
    "alarm": (
        lambda: signal.alarm(100),
        "the alarm of the process",
        lambda: signal.getitimer(signal.ITIMER_REAL),
    ),
    "places of modules": (forget_places, "the places where Python finds", lambda: list(sys.path)),
}


def attempt(*steps: Callable[[], Any]) -> None:
    """Run some steps as a method that is not ours."""
    with undisturbed(Model) as changed:
        for step in steps:
            step()
    if changed:
        raise Unsupported(not_left(changed[0]))


# torch warns once in a process that a kernel is replaced.
@pytest.mark.filterwarnings("ignore:Warning only once for all operators")
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_is_named_and_put_back(name: str) -> None:
    change, told, read = CHANGES[name]
    before, seen = read(), []
    with pytest.raises(Unsupported, match="a method must leave it as it was") as raised:
        attempt(change, lambda: seen.append(read()))
    assert seen != [before]
    assert str(raised.value).startswith(f"it changed {told}")
    assert read() == before


# torch warns once in a process that a kernel is replaced.
@pytest.mark.filterwarnings("ignore:Warning only once for all operators")
@pytest.mark.parametrize("name", CHANGES)
def test_it_is_put_back_after_an_exception_too(name: str) -> None:
    change, _, read = CHANGES[name]
    before = read()
    with pytest.raises(ZeroDivisionError):
        attempt(change, lambda: 1 / 0)
    assert read() == before


OF_IMPORTS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "the working directory": (lambda: os.chdir("/"), os.getcwd),
    "torch's default dtype": (
        lambda: torch.set_default_dtype(torch.float64),
        torch.get_default_dtype,
    ),
    "the gradient mode": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "torch's default device": (
        lambda: torch.set_default_device("meta"),
        lambda: torch.empty(0).device,
    ),
    "the modes through which calls of torch go": (
        begin(Everywhere),
        lambda: [type(mode) for mode in torch.overrides._get_current_function_mode_stack()],
    ),
    "the modes that see torch's operations": (
        begin(Operations),
        lambda: [type(m) for m in torch.utils._python_dispatch._get_current_dispatch_mode_stack()],
    ),
    "what torch does with tensors that it keeps for gradients": (
        begin(lambda: saved_tensors_hooks(abs, abs)),
        lambda: torch._C._autograd._top_saved_tensors_default_hooks(False),
    ),
    "whether torch uses deterministic algorithms only": (
        lambda: torch.use_deterministic_algorithms(True),
        torch.are_deterministic_algorithms_enabled,
    ),
    "the precision of torch's float32 products": (
        lambda: torch.set_float32_matmul_precision("medium"),
        torch.get_float32_matmul_precision,
    ),
}


@pytest.mark.parametrize("name", OF_IMPORTS)
def test_what_an_import_changes_is_named_and_put_back(name: str) -> None:
    change, read = OF_IMPORTS[name]
    before = read()
    with undisturbed(importing=True) as changed:
        change()
    assert changed == [name]
    assert read() == before


def test_modes_that_were_begun_before_stay() -> None:
    with Everywhere() as mode, Operations() as other, saved_tensors_hooks(abs, abs):
        with undisturbed(importing=True) as changed:
            torch.overrides._pop_mode()
            torch.set_default_device("meta")
            begin(Operations)()
            begin(Everywhere)()
            begin(lambda: saved_tensors_hooks(abs, len))()
        assert torch.overrides._get_current_function_mode_stack() == [mode]
        assert torch.utils._python_dispatch._get_current_dispatch_mode_stack() == [other]
        assert torch._C._autograd._top_saved_tensors_default_hooks(False) == (abs, abs)
    assert len(changed) == 4


def test_what_torch_is_by_itself_is_known_before_it_is_imported() -> None:
    code = (
        "import sys\nfrom xbench.surroundings import undisturbed\nassert 'torch' not in sys.modules\n"
        "with undisturbed(importing=True) as changed:\n    import torch\n"
        "assert changed == [], changed\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_module_that_nobody_imported_yet_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "soundfile", raising=False)
    with undisturbed() as changed:
        sys.modules["soundfile"] = types.ModuleType("soundfile")
    assert changed == ["the module 'soundfile'"]
    assert "soundfile" not in sys.modules
    with undisturbed() as changed:
        import_module("soundfile")  # to import it is no change
    assert changed == []


def test_what_does_no_harm_is_no_change() -> None:
    filters = list(warnings.filters)
    with undisturbed(Model) as changed:
        warnings.simplefilter("error")
        sys.path.append("/nowhere")
        np.added_by_a_plugin = len  # type: ignore[attr-defined]
        assert [Model().encode(), float(np.mean([1, 3]))] == [1, 2]
    assert changed == []
    assert list(warnings.filters) == filters
    sys.path.remove("/nowhere")
    del np.added_by_a_plugin  # type: ignore[attr-defined]


# -- streams --------------------------------------------------------------------------------------


def test_whatever_prints_prints_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with undisturbed():
        print("of Python")
        sys.stdout.flush()
        os.write(1, b"of another language\n")
        subprocess.run(["echo", "of another process"], check=True)
    print("ours")
    out, err = capfd.readouterr()
    assert out == "ours\n"
    assert [line for line in err.splitlines() if line.startswith("of ")] == [
        "of Python",
        "of another language",
        "of another process",
    ]


def test_a_closed_stream_closes_none_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    ours = sys.stdout, sys.stderr
    with undisturbed():
        sys.stdout.close()
        sys.stderr.close()
        os.close(1)
        os.close(2)
    with undisturbed():
        sys.stdout = sys.stderr = None  # type: ignore[assignment]
    assert (sys.stdout, sys.stderr) == ours
    print("to read")
    print("to note", file=sys.stderr)
    assert capfd.readouterr() == ("to read\n", "to note\n")


def test_a_process_without_streams_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with undisturbed() as changed:
        print("to nobody")
        sys.stdout.flush()
        assert not sys.stdout.isatty()
    assert changed == []


# -- threads --------------------------------------------------------------------------------------


# SystemExit ends a thread without a word, but pytest tells of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_still_works_is_named_and_ended() -> None:
    counts = [0]

    def work() -> None:
        for _ in range(10_000):
            counts[0] += 1
            time.sleep(0.001)

    told = re.escape("it changed the threads of the process ('busy' was still at work), which all")
    with pytest.raises(Unsupported, match=told):
        attempt(threading.Thread(target=work, name="busy").start, lambda: time.sleep(0.05))
    assert "busy" not in {thread.name for thread in threading.enumerate()}
    reached = counts[0]
    time.sleep(0.05)
    assert counts[0] == reached


def test_a_thread_that_waits_and_one_that_is_over_are_no_change() -> None:
    pool = ThreadPoolExecutor(1)
    with undisturbed() as changed:
        assert pool.submit(len, "abc").result() == 3
        over = threading.Thread(target=len, args=("abc",))
        over.start()
        over.join()
    assert changed == []
    assert pool.submit(len, "abcd").result() == 4
    pool.shutdown()
