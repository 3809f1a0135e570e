"""Methods that are not ours within a whole run: whatever they do, the results of the others are what they were."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import xbench
from command_line import Run
from installed_plugin import DESCRIPTION, Install
from xbench import registry
from xbench.cli import console
from xbench.models.families.whisper import WhisperModel
from xbench.results import read_result
from xbench.runner import fingerprint, stages, time_limit
from xbench.runner.bench import bench_of
from xbench.runner.desk import Work
from xbench.runner.outcome import Known
from xbench.runner.plan import prepare
from xbench.runner.progress import SILENT
from xbench.runner.rescore import rescore
from xbench.runner.worker import Worker
from xbench.store import Store
from xbench.tasks import load_task

OURS = ("mean-heads", "saliency-encoder")

# What careless methods do, as the body of a function of a case.
CARELESS = {
    "hook": "case.model.network.get_encoder().register_forward_hook(lambda m, i, o: (o[0] * 0, *o[1:]))",
    "weights": "case.model.network.get_encoder().layers[0].fc1.weight.data.mul_(0)",
    "trace": "case.trace.cross_attention[..., 0] = 0",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "no gradients": "torch.set_grad_enabled(False)",
    "training": "case.model.network.train()",
    "seed": "torch.manual_seed(0)",
    "exit": "raise SystemExit('enough')",
    "memory": "raise MemoryError",
    "print": "print('hello')",
    "hanging": "time.sleep(600)",
    "bug": "raise KeyError('layer')",
    "interrupt": "raise KeyboardInterrupt",
    "panic": "raise type('Panic', (BaseException,), {})('of another language')",
    "mute": "raise type('Mute', (Exception,), {'__str__': None})",
    "patch": "torch.Tensor.mean = lambda self, *given: self.sum(*given)",
    "patched model": "type(case.model.measured).encode = lambda self, values: values",
    "kernels": "torch.backends.mkldnn.enabled = False",
    "library": "begin(Halves())",
    "mode": "begin(Wrong())",
    "operations": "begin(WrongToo())",
    "saved": "begin(torch.autograd.graph.saved_tensors_hooks(lambda t: t * 0, lambda t: t))",
    "thread": "threading.Thread(target=spoil, args=(case,)).start(); time.sleep(0.02)",
    "closed": "sys.stdout.close(); sys.stderr.close()",
}
HARMLESS = {"trace", "print", "closed"}
TOLD: dict[str, str | tuple[str, ...]] = {
    "hook": "it changed the forward hooks of module 'model.encoder'",
    "weights": "it changed weight 'model.encoder.layers.0.fc1.weight'",
    "dtype": "it changed torch's default dtype",
    "no gradients": "it changed the gradient mode",
    "training": "it changed 'training' of",
    "seed": "it changed torch's global random numbers",
    "exit": "it failed on a: SystemExit: enough",
    "memory": "it failed on a: it ran out of memory",
    "hanging": "it took longer than the limit of 15 s on a",
    "bug": "it failed on a: KeyError: 'layer'",
    "interrupt": "it failed on a: it raised KeyboardInterrupt, though nobody interrupted the run",
    "panic": "it failed on a: Panic: of another language",
    "mute": "it failed on a: Mute",
    "patch": "it changed 'mean' of Tensor",
    "patched model": "it changed 'encode' of WhisperModel",
    "kernels": "it changed whether torch uses oneDNN",
    "library": "it changed the kernels of torch's operations (torch.library)",
    "mode": "it changed the modes through which calls of torch go",
    "operations": "it changed the modes that see torch's operations",
    "saved": "it changed what torch does with tensors that it keeps for gradients",
    # Whether it has ended by then, the machine decides.
    "thread": ("it changed the threads of the process", "it changed weight 'model.encoder."),
}

MODULE = """
import sys
import threading
import time
import torch
import torch.utils._python_dispatch

class Wrong(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, given=(), named=None):
        found = function(*given, **(named or {{}}))
        return found * 2 if isinstance(found, torch.Tensor) and found.is_floating_point() else found

class Halves:
    def __enter__(self):
        self.library = torch.library.Library("aten", "IMPL")
        self.library.impl("addmm", lambda bias, *given, **named: bias.expand(len(given[0]), -1) * 0.5, "CPU")

class WrongToo(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, function, types, given=(), named=None):
        found = function(*given, **(named or {{}}))
        return found * 2 if isinstance(found, torch.Tensor) and found.is_floating_point() else found

BEGUN = []

def begin(manager):
    BEGUN.append(manager)
    manager.__enter__()

def spoil(case):
    for _ in range(10_000):
        case.model.network.get_encoder().layers[0].fc1.weight.data.mul_(0.9)
        time.sleep(0.001)

def run(case):
    {body}
    return case.trace.cross_attention.mean((0, 1))
"""


@pytest.fixture
def spec(tiny: WhisperModel, make_manifest: Callable[..., Path]) -> xbench.RunSpec:
    return xbench.RunSpec(
        model=tiny,
        methods=OURS,
        tasks="asr",
        data=str(make_manifest({"a": 0.6, "b": 0.8})),
        masks=12,
        references="spes-encoder",
        metrics="pearson",
    )


def options(folder: Path, **more: Any) -> xbench.ExecutionOptions:
    return xbench.ExecutionOptions(str(folder / "results"), str(folder / "cache"), "cpu", **more)


def maps_of(results: list[xbench.RunResult]) -> dict[str, Any]:
    return {r.method.name: (r.utterances["map_hash"], r.scores) for r in results}


# A thread that is ended goes without a word, but pytest tells of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore:Warning only once for all operators")
@pytest.mark.parametrize("name", CARELESS)
def test_a_careless_method_harms_no_other(
    name: str, spec: xbench.RunSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space: dict[str, Any] = {}
    exec(MODULE.format(body=CARELESS[name]), space)  # the code of a stranger
    careless = xbench.method(space["run"], name="careless", takes="case")
    expected = maps_of(xbench.evaluate(spec, options(tmp_path / "alone")))
    limit = 15.0 if name == "hanging" else None
    together = replace(spec, methods=(careless, *OURS))
    first, *others = xbench.evaluate(together, options(tmp_path / "with", method_timeout=limit))
    assert maps_of(others) == expected
    assert capsys.readouterr().out == ""
    if name in HARMLESS:
        assert first.status == "complete"
    else:
        assert first.status == "unsupported"
        assert (first.reason or "").startswith(TOLD[name])
    # Nothing of it stays in the store either.
    again = xbench.evaluate(spec, options(tmp_path / "with"))
    assert maps_of(again) == expected


# What plugins do after their call: they wait until a method of ours is at work.
LATE = """
import gc
import sys
import threading
import torch

def spoil(case):
    case.model.network.get_encoder().layers[0].fc1.weight.data.mul_(0)

def is_computing(thread):
    frame = sys._current_frames()[thread]
    while frame is not None:
        if frame.f_globals.get("__name__") == "xbench.methods.gradients":
            return True
        frame = frame.f_back
    return False

def lurk(case, thread, again):
    while again:
        while not is_computing(thread):
            threading.Event().wait(0.001)
        spoil(case)
        again -= 1

class Dies:
    def __init__(self, case):
        self.case, self.itself = case, self
    def __del__(self):
        spoil(self.case)

def run(case):
    {body}
    return case.trace.cross_attention.mean((0, 1))

def innocent(case):
    return case.trace.cross_attention.amax((0, 1))
"""
LURK = "threading.Thread(target=lurk, args=(case, threading.get_ident(), {}), daemon=True).start()"
LATER = {
    "thread": LURK.format(1),
    "thread that goes on": LURK.format(100_000),
    "garbage": "Dies(case)",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("last", [False, True])
def test_what_a_method_changes_after_its_call_harms_no_other(
    name: str, last: bool, spec: xbench.RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space: dict[str, Any] = {}
    exec(LATE.format(body=LATER[name]), space)
    late = xbench.method(space["run"], name="late", takes="case")
    expected = maps_of(xbench.evaluate(spec, options(tmp_path / "alone")))
    plain = stages.compute_map

    def collected(description: Any, *given: Any) -> Any:
        if description.name != "late":
            gc.collect()
        return plain(description, *given)

    monkeypatch.setattr(stages, "compute_map", collected)
    together = replace(spec, methods=(*OURS, late) if last else (late, *OURS))
    found = xbench.evaluate(together, options(tmp_path / "with"))
    of_late = next(result for result in found if result.method.name == "late")
    assert maps_of([result for result in found if result is not of_late]) == expected
    assert of_late.status == "unsupported"
    assert (of_late.reason or "").startswith("it changed ")
    assert maps_of(xbench.evaluate(spec, options(tmp_path / "with"))) == expected


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_of_several_who_may_have_changed_something_later_all_are_named(
    spec: xbench.RunSpec, tmp_path: Path
) -> None:
    space: dict[str, Any] = {}
    exec(LATE.format(body=LATER["thread"]), space)
    late = xbench.method(space["run"], name="late", takes="case")
    innocent = xbench.method(space["innocent"], name="innocent", takes="case")
    expected = maps_of(xbench.evaluate(spec, options(tmp_path / "alone")))
    together = replace(spec, methods=(late, innocent, *OURS))
    first, second, *others = xbench.evaluate(together, options(tmp_path / "with"))
    assert maps_of(others) == expected
    for result in (first, second):
        assert result.status == "unsupported"
        assert "(method 'late', method 'innocent')" in (result.reason or "")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_a_method_changes_later_in_one_of_several_processes_harms_no_other(
    spec: xbench.RunSpec, tmp_path: Path
) -> None:
    space: dict[str, Any] = {}
    exec(LATE.format(body=LATER["thread"]), space)
    late = xbench.method(space["run"], name="late", takes="case")
    expected = maps_of(xbench.evaluate(spec, options(tmp_path / "alone")))
    plan, given = prepare(replace(spec, methods=(late, *OURS))), options(tmp_path / "with")
    first, second = (
        Worker(plan, bench_of(plan, given), tmp_path / "with", SILENT) for _ in range(2)
    )
    told = {}
    for stage in ("decode", "reference", "explain"):
        for worker, id_ in ((first, "a"), (second, "b")):
            told[id_] = worker.do(Work(stage, "asr", id_))  # type: ignore[arg-type]
    assert set(told["a"].unsupported) == {xbench.Call("late")}
    known = Known(unsupported={"asr": {id_: each.unsupported for id_, each in told.items()}})
    of_late, *others = map(read_result, second.finish(known))
    assert maps_of(others) == expected
    assert of_late.status == "unsupported"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_method_of_ours_is_not_taken_for_a_change(spec: xbench.RunSpec, tmp_path: Path) -> None:
    """Whatever ours import or set while they compute, a method that ran before is not blamed for it."""
    harmless = xbench.method(lambda trace: trace.cross_attention.mean((0, 1)), name="harmless")
    ours = tuple(
        entry.name
        for entry in registry.methods.entries()
        if entry.distribution == registry.OURS
        and entry.description.kind in ("attention", "gradient")  # type: ignore[union-attr]
        and not entry.description.fit  # type: ignore[union-attr]
        and not any(p.required for p in entry.description.parameters)  # type: ignore[union-attr]
    )
    together = replace(spec, methods=(harmless, *ours))
    first, *_ = xbench.evaluate(together, options(tmp_path))
    assert (first.status, first.reason) == ("complete", None)


@pytest.mark.parametrize("then", ["raise", "time.sleep(0)", "raise ValueError('stopped')"])
def test_ctrl_c_ends_a_run_whatever_the_method_at_work_makes_of_it(
    then: str, spec: xbench.RunSpec, tmp_path: Path
) -> None:
    body = f"""try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    except KeyboardInterrupt:
        {then}"""
    space: dict[str, Any] = {"os": os, "signal": signal}
    exec(MODULE.format(body=body), space)
    stopped = xbench.method(space["run"], name="stopped", takes="case")
    # In a shell's background it is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            xbench.evaluate(replace(spec, methods=(stopped, *OURS)), options(tmp_path))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_method_whose_time_was_up_is_not_tried_again(
    spec: xbench.RunSpec, tmp_path: Path
) -> None:
    started: list[float] = []

    def sleeper(trace: xbench.Trace) -> torch.Tensor:
        started.append(time.monotonic())
        time.sleep(30)
        return trace.cross_attention.mean((0, 1))

    (result,) = xbench.evaluate(
        replace(spec, methods=sleeper), options(tmp_path, method_timeout=0.3)
    )
    assert result.status == "unsupported"
    assert len(started) == 1


def test_a_method_that_catches_everything_is_stopped_all_the_same(
    spec: xbench.RunSpec, tmp_path: Path
) -> None:
    def stubborn(trace: xbench.Trace) -> torch.Tensor:
        while True:
            try:  # noqa: SIM105  # what it is about
                time.sleep(1)
            except BaseException:  # noqa: BLE001
                pass

    started = time.monotonic()
    first, *others = xbench.evaluate(
        replace(spec, methods=(stubborn, *OURS)), options(tmp_path / "with", method_timeout=0.3)
    )
    assert first.status == "unsupported"
    assert (first.reason or "").startswith("it took longer than the limit of 0.3 s")
    assert time.monotonic() - started < 60
    alone = xbench.evaluate(spec, options(tmp_path / "alone"))
    assert maps_of(others) == maps_of(alone)


def calling(module: str) -> Any:
    """Return a function of a module of this name that calls what it is given."""
    scope: dict[str, Any] = {"__name__": module}
    exec("def call(inner):\n    return inner()", scope)
    return scope["call"]


@pytest.mark.parametrize(
    ("callers", "meets"),
    [
        (["xbench.methods.compute", "their_module"], True),
        (["xbench.methods.compute", "their_module", "torch.functional", "contextlib"], True),
        (["their_module", "xbench.models.kept_state"], False),
        (["their_module", "xbench.models.kept_state", "torch._tensor"], False),
        (["xbench.methods.compute", "xbench_theirs"], True),  # another package
    ],
)
def test_alarms_after_the_first_meet_methods_and_not_what_puts_things_back(
    callers: list[str], meets: bool
) -> None:
    def innermost() -> bool:
        return time_limit._in_a_method(sys._getframe(1))

    call = innermost
    for module in reversed(callers):
        call = partial(calling(module), call)
    assert call() is meets


@pytest.mark.parametrize("wrong", [{"kind": "sorcery"}, {"space": "moon"}, {"authors": "\udce9"}])
def test_a_description_of_ones_own_is_looked_at_before_the_run(
    spec: xbench.RunSpec, tmp_path: Path, wrong: dict[str, str]
) -> None:
    own = xbench.method(lambda trace: trace.cross_attention.mean((0, 1)), name="own")
    for field, value in wrong.items():
        object.__setattr__(own, field, value)  # types are checked in tests only
    told = rf"method 'own': {next(iter(wrong))} is "
    with pytest.raises(xbench.UsageError, match=told) as caught:
        xbench.evaluate(replace(spec, methods=(own, *OURS)), options(tmp_path))
    str(caught.value).encode()


def test_a_function_that_holds_half_of_a_pair_is_a_method(
    spec: xbench.RunSpec, tmp_path: Path
) -> None:
    def odd(trace: xbench.Trace) -> torch.Tensor:
        raise ValueError("caf\udce9")

    result, *others = xbench.evaluate(replace(spec, methods=(odd, *OURS)), options(tmp_path))
    assert result.status == "unsupported"
    assert (result.reason or "").endswith("ValueError: caf\\udce9")
    assert {other.status for other in others} <= {"complete", "partial"}


def test_who_is_at_work_for_long_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "LONG", 0.05)
    monkeypatch.setattr(console, "LOOK", 0.01)
    with console.ProgressReporter() as reporter, reporter.stage("asr: score", 2):
        with reporter.at_work("method 'slow', on a"):
            time.sleep(0.3)
        time.sleep(0.2)
    told = capsys.readouterr().err
    assert "method 'slow', on a: at work for 0 s" in told
    assert "asr: score: at work for" in told


@pytest.mark.parametrize("begun", [0, 1, 4, 31, 59])
def test_who_is_at_work_for_a_minute_is_told_soon_after_it_and_each_minute(
    begun: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    told: list[tuple[float, str]] = []

    class Passing(threading.Event):
        """Time that passes when somebody waits for it; `slow` begins meanwhile, and all is over four minutes later."""

        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now
            assert timeout is not None
            later = now + timeout
            if now <= begun < later:
                now = begun
                work.enter_context(reporter.at_work("slow"))
            now = later
            return now - begun > 250

    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now))
    reporter = console.ProgressReporter()
    monkeypatch.setattr(reporter, "_over", Passing())
    monkeypatch.setattr(reporter, "note", lambda line: told.append((now - begun, line)))
    with ExitStack() as work:
        reporter._tell_who_is_at_work()
    assert len(told) == 4
    for minute, (seconds, line) in enumerate(told, start=1):
        assert line == f"slow: at work for {seconds:.0f} s"
        assert 60 * minute <= seconds < 60 * minute + 10


# -- maps are made again when the code changes ----------------------------------------------------

LOUD = (
    "def run(trace):\n    return trace.cross_attention.mean((0, 1)) * {factor} + {factor} / 100\n"
)


@pytest.mark.parametrize("editable", [True, False])
def test_an_edited_method_of_an_editable_package_is_computed_again(
    editable: bool, install: Install, spec: xbench.RunSpec, tmp_path: Path
) -> None:
    description = DESCRIPTION.format(name="METHOD", method="loudness", module="their_module")
    description = description.replace("distribution=True", "distribution=False")
    install(
        "their-plugin",
        "their_module",
        {"loudness": "their_module:METHOD"},
        description + LOUD.format(factor=1),
    )
    if editable:
        (tmp_path / "their_plugin-2.5.dist-info" / "direct_url.json").write_text(
            json.dumps({"url": "file:///somewhere", "dir_info": {"editable": True}})
        )
    registry.in_development.cache_clear()
    spec = replace(spec, methods=(xbench.Call("loudness"),))
    (first,) = xbench.evaluate(spec, options(tmp_path))
    file = tmp_path / "their_module.py"
    edited = description + LOUD.format(factor=2)
    file.write_text(edited)
    fingerprint.source_digest.cache_clear()
    exec(edited, vars(__import__("their_module")))  # as a new process would have it
    (second,) = xbench.evaluate(spec, options(tmp_path))
    assert (first.utterances["map_hash"] != second.utterances["map_hash"]) == editable
    (fresh,) = xbench.evaluate(spec, options(tmp_path, fresh=True))
    assert fresh.utterances["map_hash"] != first.utterances["map_hash"]
    registry.in_development.cache_clear()
    fingerprint.source_digest.cache_clear()


def test_the_artefacts_of_one_method_are_cleared(
    spec: xbench.RunSpec, tmp_path: Path, run: Run
) -> None:
    xbench.evaluate(replace(spec, gates=("determinism",)), options(tmp_path))
    store = Store(tmp_path / "cache")
    before = store.summary()
    code, out, _ = run("cache", "clear", "--method", "mean-heads", "--cache", str(store.folder))
    assert (code, out) == (0, "3 artefacts deleted\n")  # two maps and the gate that judged them
    after = store.summary()
    assert after["map"]["artefacts"] == before["map"]["artefacts"] - 2
    assert after["gate"]["artefacts"] == before["gate"]["artefacts"] - 1
    for kind in ("hypothesis", "reference"):
        assert after[kind] == before[kind]
    assert store.verify() == []
    mistyped = run("cache", "clear", "--method", "mean-haeds", "--cache", str(store.folder))
    assert (mistyped.code, mistyped.out) == (0, "0 artefacts deleted\n")
    assert "there is no method 'mean-haeds', did you mean 'mean-heads'" in mistyped.err


# -- FILE.py:NAME ---------------------------------------------------------------------------------

OWN_FILE = '''
"""A method and a metric that somebody tries."""
import numpy as np
import torch
from xbench import MethodDescription, MetricDescription, Parameter, Score
from xbench import registry
from xbench.references.spes import spes_encoder
from dataclasses import replace
from beside_it import FACTOR

def last_layer(trace):
    return FACTOR * trace.cross_attention[-1].mean(0)

def chosen(trace, layer):
    return trace.cross_attention[int(layer)].mean(0)

CHOSEN = MethodDescription(
    name="chosen-layer", version="1", summary="One layer.", source="here", implementation="own_things:chosen",
    kind="attention", distribution=True, parameters=(Parameter("layer", "int", "which", default=0),),
)

def distance(saliency, reference, layout, scoring):
    return Score(float(np.abs(saliency.values - reference.values).mean()))

DISTANCE = MetricDescription(
    name="own-distance", version="1", summary="Mean difference.", source="here", implementation="own_things:distance",
    family="agreement", higher_is_better=False, range=(0, None), no_ceiling="not known",
)

def again(case, sampling, **parameters):
    return spes_encoder(case, sampling, **parameters)

AGAIN = replace(registry.references.get("spes-encoder"), name="own-reference", implementation="own_things:again")
'''


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from xbench.runner import local_file

    local_file._module.cache_clear()
    import sys

    for name in ("own_things", "beside_it"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(registry.metrics, "_local", {})
    monkeypatch.setattr(registry.references, "_local", {})
    (tmp_path / "beside_it.py").write_text("FACTOR = 1\n")
    file = tmp_path / "own_things.py"
    file.write_text(OWN_FILE)
    return file


def test_methods_and_a_metric_out_of_a_file(
    own_file: Path, tiny_whisper_folder: Path, spec: xbench.RunSpec, tmp_path: Path, run: Run
) -> None:
    code, out, err = run(
        *("eval", "--model", f"whisper:{tiny_whisper_folder}", "--data", str(spec.data), "--json"),
        *("--method", f"{own_file}:last_layer", "--method", f"{own_file}:CHOSEN:layer=1"),
        *("--method", "mean-layers:head=0", "--metric", f"+{own_file}:DISTANCE", "--masks", "12"),
        *("--reference", "spes-encoder", "--metric", "pearson", "--device", "cpu"),
        *("--cache", str(tmp_path / "c"), "--output", str(tmp_path / "r")),
    )
    assert code == 0, err
    last, chosen, registered = json.loads(out)
    assert last["utterances"]["map_hash"] == chosen["utterances"]["map_hash"]
    assert chosen["method"]["params"] == {"layer": 1}
    rows = {(p["kind"], p["name"]): p["distribution"] for p in last["provenance"]["plugins"]}
    assert rows["method", "last_layer"] == "local"
    assert rows["metric", "own-distance"] == "local"
    assert rows["metric", "pearson"] == "xbench"
    assert "own-distance" in {score["metric"] for score in registered["scores"]}
    assert str(tmp_path) not in out
    code, _, err = run("submit", next((tmp_path / "r").rglob("last-layer*.json")))
    assert code == 2
    assert "is in no package" in err


@pytest.mark.parametrize(
    ("kind", "name", "detail"),
    [
        ("method", "last_layer", ""),
        ("method", "CHOSEN:layer=7", "index 7 is out of bounds"),
        ("metric", "DISTANCE", "rows of special tokens change the score"),
        ("reference", "AGAIN:masks=12", ""),
    ],
)
def test_what_is_in_a_file_is_checked_as_eval_would_take_it(
    kind: str, name: str, detail: str, own_file: Path, run: Run
) -> None:
    code, out, err = run("check", kind, f"{own_file}:{name}", "--json")
    assert err == ""
    details = [row["detail"] for row in json.loads(out) if row["status"] == "failed"]
    assert (code, bool(details)) == ((1, True) if detail else (0, False)), details
    assert detail in " ".join(details)
    assert run("check", kind, f"{own_file}:nothing").err.startswith("error: ")


def test_a_reference_out_of_a_file(own_file: Path, spec: xbench.RunSpec, tmp_path: Path) -> None:
    (as_in_task,) = [c for c in load_task("asr").references if c.name == "spes-encoder"]
    own_call = xbench.Call(f"{own_file}:AGAIN", as_in_task.params)
    both = replace(spec, references=(own_call, "spes-encoder"), methods=("mean-heads",))
    (result,) = xbench.evaluate(both, options(tmp_path))
    own, ours = (result.score("pearson", name) for name in ("own-reference", "spes-encoder"))
    assert (own.value, own.ceiling) == (ours.value, ours.ceiling)
    stated = result.references[0]
    assert (stated.name, stated.version.partition("+")[0]) == (
        "own-reference",
        registry.references.get("spes-encoder").version,
    )
    assert result.own is not None
    assert "reference 'own-reference'" in result.own
    with pytest.raises(xbench.UsageError, match="is a function; a reference is an xbench"):
        xbench.evaluate(replace(spec, references=f"{own_file}:again"), options(tmp_path))


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("nowhere.py:run", None, "nowhere.py: there is no such file"),
        ("own_things.py:last_layr", "", "has no 'last_layr', did you mean 'last_layer'?"),
        ("own_things.py:x", "import json\n1 / 0\n", "own_things.py:2: it cannot be imported: Zero"),
        ("own_things.py:x", "def f(:\n", "own_things.py:1: it cannot be imported: SyntaxError"),
        ("own_things.py:x", "raise KeyboardInterrupt", "it raised KeyboardInterrupt"),
        ("own_things.py:x", "raise SystemExit(3)", "own_things.py:1: it cannot be imported: Syst"),
        ("own_things.py:x", "import os\nos.chdir('/')\nx = 1", "changed the working directory"),
        ("json.py:x", "x = 1", "'json' is the name of another module; rename the file"),
        ("own_things.py:np", "import numpy as np", "a function, not a module"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(
    own_file: Path, name: str, code: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_file.parent)
    if code:
        Path(name.partition(":")[0]).write_text(code)
    from xbench.runner.plan import Method

    with pytest.raises(xbench.UsageError, match=message.replace("(", r"\(")) as problem:
        Method.of(name)
    assert "\n" not in str(problem.value)


def test_a_metric_of_a_file_is_a_description_with_a_name_of_its_own(own_file: Path) -> None:
    from xbench.runner.local_file import with_local_metric

    with pytest.raises(xbench.UsageError, match="is a function; a metric is an xbench"):
        with_local_metric(xbench.Call(f"{own_file}:distance"))
    own_file.write_text(OWN_FILE.replace('"own-distance"', '"pearson"'))
    from xbench.runner import local_file

    local_file._module.cache_clear()
    import sys

    del sys.modules["own_things"]
    with pytest.raises(xbench.UsageError, match="bears a registered name"):
        with_local_metric(xbench.Call(f"+{own_file}:DISTANCE"))


# -- metrics and references that are not ours ------------------------------------------------------

STRANGERS = """
import os
import numpy as np
from xbench import MetricDescription, Score
from xbench import registry
from xbench.references.spes import spes_encoder
from dataclasses import replace

def judge(method, reference, layout, scoring):
    {metric}
    return Score(0.5)

def refer(case, sampling, **parameters):
    {reference}
    return spes_encoder(case, sampling, **parameters)

METRIC = MetricDescription(
    name="theirs", version="1", summary="", source="", implementation="own_things:judge", family="agreement",
    higher_is_better=True, range=(0.0, 1.0), no_ceiling="not known",
)
REFERENCE = replace(registry.references.get("spes-encoder"), name="their-map", implementation="own_things:refer")
"""
METRICS = {
    "raise KeyError('x')": "KeyError: 'x'",
    "raise SystemExit(0)": "SystemExit: 0",
    "raise KeyboardInterrupt": "it raised KeyboardInterrupt, though nobody",
    "raise MemoryError": "MemoryError",
    "return Score(float('nan'))": "ValueError: a score is a finite number",
    "return 0.5": "it returned a float, not a Score",
    "return Score(7.0)": "it says 7, outside of its range 0.0 to 1.0",
    "return Score(-0.2)": "it says -0.2, outside of its range 0.0 to 1.0",
    "os.environ; np.mean = np.median": "it changed 'mean' of numpy",
}
REFERENCES = {
    "raise KeyError('x')": "KeyError: 'x'",
    "raise SystemExit(0)": "SystemExit: 0",
    "return None": "AttributeError: ",
    "case.model.network.train()": "it changed 'training' of ",
    "np.mean = np.median": "it changed 'mean' of numpy",
}


@pytest.mark.parametrize("code", METRICS)
def test_a_metric_that_fails_is_named_and_the_others_have_their_values(
    code: str, own_file: Path, spec: xbench.RunSpec, tmp_path: Path
) -> None:
    own_file.write_text(STRANGERS.format(metric=code, reference="pass"))
    expected = maps_of(xbench.evaluate(spec, options(tmp_path)))
    together = replace(spec, metrics=(xbench.Call(f"{own_file}:METRIC"), xbench.Call("pearson")))
    with pytest.warns(UserWarning, match=re.escape(METRICS[code])) as told:
        found = xbench.evaluate(together, options(tmp_path))
    assert "metric 'theirs' has no value" in str(told[0].message)
    for result in found:
        ours, theirs = (result.score(name) for name in ("pearson", "theirs"))
        assert ours in expected[result.method.name][1]
        assert theirs.value is None
        assert theirs.undefined == {"metric-failed": 2}


def test_a_metric_that_writes_into_its_maps_changes_none_of_the_others(
    own_file: Path, spec: xbench.RunSpec, tmp_path: Path
) -> None:
    write = "method.values[:] = 0; reference.values[:] = 1"
    own_file.write_text(STRANGERS.format(metric=write, reference="pass"))
    expected = maps_of(xbench.evaluate(spec, options(tmp_path)))
    together = replace(spec, metrics=(xbench.Call(f"{own_file}:METRIC"), xbench.Call("pearson")))
    for result in xbench.evaluate(together, options(tmp_path)):
        assert result.score("theirs").value == 0.5
        assert result.score("pearson") in expected[result.method.name][1]


@pytest.mark.parametrize("code", REFERENCES)
def test_a_reference_that_fails_is_named_and_leaves_the_model_as_it_was(
    code: str, own_file: Path, spec: xbench.RunSpec, tmp_path: Path
) -> None:
    own_file.write_text(STRANGERS.format(metric="pass", reference=code))
    expected = maps_of(xbench.evaluate(spec, options(tmp_path / "alone")))
    theirs = replace(spec, references=xbench.Call(f"{own_file}:REFERENCE"))
    failed, *_ = xbench.evaluate(theirs, options(tmp_path / "with"))
    assert failed.status == "failed"
    for failure in failed.failures:
        assert failure.reason == "reference-failed"
        assert "reference 'their-map" in failure.message
        assert REFERENCES[code] in failure.message
    assert maps_of(xbench.evaluate(spec, options(tmp_path / "with"))) == expected


# -- arrays ---------------------------------------------------------------------------------------


def test_arrays_are_scored_against_stored_references(spec: xbench.RunSpec, tmp_path: Path) -> None:
    registered, *_ = xbench.evaluate(spec, options(tmp_path))
    ids = registered.utterances["id"]

    arrays: dict[str, np.ndarray] = {}

    def remembers(trace: xbench.Trace) -> torch.Tensor:
        values = trace.cross_attention.mean((0, 1))
        arrays[ids[len(arrays)]] = values.numpy().copy()
        return values

    xbench.evaluate(replace(spec, methods=remembers), options(tmp_path))
    given: dict[str, Any] = {"name": "mine", "distribution": True, "cache": tmp_path / "cache"}
    scored = xbench.score_maps(registered, arrays, **given)
    assert [(s.metric, s.value) for s in scored.scores] == [
        (s.metric, s.value) for s in registered.scores
    ]
    from_file = xbench.score_maps(tmp_path / "results" / registered.path(), arrays, **given)
    assert from_file.scores == scored.scores
    with pytest.warns(UserWarning, match="1 of 2 utterances have no map .* failures: b"):
        part = xbench.score_maps(registered, {"a": arrays["a"]}, **given)
    assert [(f.id, f.reason) for f in part.failures] == [("b", "no-map")]
    with pytest.raises(xbench.UsageError, match=r"maps\['c'\]: the run has no utterance 'c'"):
        xbench.score_maps(registered, {"c": arrays["a"]}, **given)
    with pytest.raises(xbench.UsageError, match=r"maps\['a'\]: a map of shape \[1, 1\]"):
        xbench.score_maps(registered, {"a": np.ones((1, 1))}, **given)
    with pytest.raises(xbench.UsageError, match="'mean-heads' is a registered method"):
        xbench.score_maps(registered, arrays, **{**given, "name": "mean-heads"})
    assert rescore([registered], Store(tmp_path / "cache"))[0].scores == registered.scores
