"""What `import xbench` offers, and that a loaded model and a function do where names do."""

from __future__ import annotations

import ast
import pkgutil
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xbench
from command_line import Run
from xbench.errors import UnknownName
from xbench.models.families.whisper import WhisperModel
from xbench.results import read_result
from xbench.runner.fingerprint import fingerprint
from xbench.runner.plan import prepare
from xbench.runner.rescore import rescore
from xbench.runner.verify import verify
from xbench.store import Store

MakeManifest = Callable[..., Path]


# -- names ----------------------------------------------------------------------------------------


def test_every_public_name_stays_what_it_is() -> None:
    first = {name: getattr(xbench, name) for name in xbench.__all__}
    for name, value in first.items():
        assert getattr(xbench, name) is value, name
        assert not isinstance(value, types.ModuleType), name
    assert set(xbench.__all__) <= set(dir(xbench))


def test_no_module_bears_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(xbench.__path__)}
    assert "runner" in modules
    assert modules.isdisjoint(xbench.__all__)


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse(Path(xbench.__file__).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == xbench._HOMES


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = xbench.evalute


# -- specs ----------------------------------------------------------------------------------------


def test_texts_are_read_as_calls_and_one_does_for_several() -> None:
    call = xbench.Call.make("mean-heads", {"layers": "1"})
    spec = xbench.RunSpec(
        model="m", methods=["mean-heads:layers=1"], tasks="asr", references="spes-encoder"
    )
    assert spec.methods == (call,)
    assert spec.tasks == ("asr",)
    assert spec.references == (xbench.Call("spes-encoder"),)
    assert xbench.RunSpec("m", "mean-heads").methods == (xbench.Call("mean-heads"),)
    assert xbench.RunSpec("m", call, metrics=(call, "pearson")).metrics[0] == call
    assert hash(spec) == hash(replace(spec))
    with pytest.raises(xbench.UsageError, match="is not a name"):
        xbench.RunSpec("m", ("mean heads",))


# -- a function and a loaded model ----------------------------------------------------------------


def same_as_mean_heads(trace: xbench.Trace) -> torch.Tensor:
    return trace.cross_attention.mean((0, 1))


@pytest.fixture
def options(tmp_path: Path) -> xbench.ExecutionOptions:
    return xbench.ExecutionOptions(str(tmp_path / "results"), str(tmp_path / "cache"), "cpu")


@pytest.fixture
def spec(tiny: WhisperModel, make_manifest: MakeManifest) -> xbench.RunSpec:
    return xbench.RunSpec(
        model=tiny,
        methods=("mean-heads", same_as_mean_heads),
        tasks="asr",
        data=str(make_manifest({"a": 0.6, "b": 0.8})),
        masks=12,
        references="spes-encoder",
        metrics="pearson",
    )


def test_a_function_on_a_loaded_model_scores_like_the_registered_method(
    spec: xbench.RunSpec, options: xbench.ExecutionOptions, tiny_whisper_folder: Path
) -> None:
    registered, own = xbench.evaluate(spec, options)
    assert own.utterances["map_hash"] == registered.utterances["map_hash"]
    assert own.scores == registered.scores
    assert (own.status, own.method.name) == ("complete", "same_as_mean_heads")
    assert registered.own is None
    assert own.own == "method 'same_as_mean_heads'"
    assert read_result(Path(options.output) / own.path()) == own
    # What is stored for a loaded model is that of its name.
    named = replace(spec, model=f"whisper:{tiny_whisper_folder}", methods="mean-heads")
    (again,) = xbench.evaluate(named, options)
    assert again.path() == registered.path()
    assert again.utterances == registered.utterances


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    traces: list[int] = []
    trace = WhisperModel.trace

    def counting(self: WhisperModel, *arguments: Any) -> Any:
        traces.append(1)
        return trace(self, *arguments)

    monkeypatch.setattr(WhisperModel, "trace", counting)
    return traces


def written(code: str, **around: Any) -> Any:
    """Return the function `f` that a session defines."""
    session = {"__name__": "__main__", **around}
    exec(code, session)
    return session["f"]


FIRST = "def f(trace):\n    return trace.cross_attention[{layer}].mean(0)  # {remark}\n"


def test_an_edited_function_is_computed_again_and_the_same_is_not(
    spec: xbench.RunSpec, options: xbench.ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = counted(monkeypatch)
    hashes = []
    for layer, remark in ((0, "first"), (0, "another remark"), (1, "edited")):
        own = replace(spec, methods=written(FIRST.format(layer=layer, remark=remark)))
        (result,) = xbench.evaluate(own, options)
        hashes.append(result.utterances["map_hash"])
    # Two clips each: the floor needs no map of its own after the first run, the same code none at all.
    assert len(traces) == 2 * 2
    assert hashes[0] == hashes[1]
    assert set(hashes[0]).isdisjoint(hashes[2])


def test_what_is_evaluated_and_explained_is_one_map(
    spec: xbench.RunSpec, options: xbench.ExecutionOptions, tiny: WhisperModel
) -> None:
    clip = Path(str(spec.data)).parent / "a.wav"
    own = xbench.explain(clip, tiny, same_as_mean_heads)
    registered = xbench.explain(clip, tiny, "mean-heads:layers=all")
    np.testing.assert_array_equal(own.values, registered.values)
    assert str(own.method) == "same_as_mean_heads"


def test_a_description_that_nobody_registers_does_too(
    spec: xbench.RunSpec, options: xbench.ExecutionOptions
) -> None:
    description = xbench.MethodDescription(
        name="mine",
        version="3",
        summary="a test",
        source="here",
        implementation=f"{__name__}:same_as_mean_heads",
        kind="attention",
        distribution=True,
    )
    registered, mine = xbench.evaluate(replace(spec, methods=("mean-heads", description)), options)
    assert mine.scores == registered.scores
    assert mine.method.version.startswith("3+")
    assert mine.own == "method 'mine'"


def test_a_case_method_may_declare_what_it_returns(
    spec: xbench.RunSpec, options: xbench.ExecutionOptions
) -> None:
    def loudness(case: xbench.Case, *, power: int = 1) -> torch.Tensor:
        row = -(case.features.valid.abs() ** power)
        return row.expand(len(case.hypothesis.tokens), *row.shape)

    own = xbench.method(loudness, name="loud", space="input", takes="case", signed=True)
    (result,) = xbench.evaluate(replace(spec, methods=(own,)), options)
    assert result.status == "complete"
    assert (result.method.name, result.method.space, result.method.signed) == (
        "loud",
        "input",
        True,
    )


# -- results of one's own are told from others ----------------------------------------------------


def test_what_no_package_registers_is_neither_verified_nor_submitted_nor_scored_again(
    run: Run, spec: xbench.RunSpec, options: xbench.ExecutionOptions, tmp_path: Path
) -> None:
    (own,) = xbench.evaluate(replace(spec, methods=same_as_mean_heads), options)
    (row,) = (p for p in own.provenance.plugins if p["kind"] == "method")
    assert row["distribution"] == "local"
    assert row["version"] == own.method.version
    with pytest.raises(xbench.UsageError, match="'same_as_mean_heads' is in no package"):
        verify(own)
    with pytest.raises(xbench.UsageError, match="is in no package; evaluate again"):
        rescore([own], Store(Path(str(options.cache))))
    done = run("submit", Path(options.output) / own.path(), "--to", tmp_path)
    assert done.code == 2
    assert "'same_as_mean_heads' is in no package" in done.err


def test_a_model_of_a_family_that_nobody_registers_is_told(
    spec: xbench.RunSpec, options: xbench.ExecutionOptions, planted: Any
) -> None:
    (result,) = xbench.evaluate(replace(spec, model=planted, methods="mean-heads"), options)
    assert result.status == "complete"
    assert result.own == f"model '{planted.info.name}'"


# -- misuse ---------------------------------------------------------------------------------------


def needs_more(trace: xbench.Trace, layer: int) -> torch.Tensor:
    return trace.cross_attention[layer].mean(0)


def one_row(trace: xbench.Trace) -> torch.Tensor:
    return trace.cross_attention.mean((0, 1, 2))


def negative(trace: xbench.Trace) -> torch.Tensor:
    return -trace.cross_attention.mean((0, 1))


def spectrum(trace: xbench.Trace) -> torch.Tensor:
    return torch.fft.fft(trace.cross_attention.mean((0, 1)))


def no_tensor(trace: xbench.Trace) -> Any:
    return trace.cross_attention.mean((0, 1)).numpy()


def uniform(trace: xbench.Trace) -> torch.Tensor:
    return trace.cross_attention.mean((0, 1))


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ((needs_more,), "function 'needs_more' is called with the trace alone, .*'layer'"),
        ((one_row,), r"function 'one_row' returned a map of shape \[\d+\], expected \[\d+, \d+\]"),
        ((negative,), "function 'negative' returned negative relevance"),
        ((spectrum,), "function 'spectrum' returned complex numbers, expected real ones"),
        ((no_tensor,), "function 'no_tensor' returned a ndarray, expected a torch tensor"),
        ((uniform,), "function 'uniform' bears the name of a registered method"),
        ((lambda trace: trace,), "<lambda> needs a name"),
        ((one_row, written("def f(t):\n    return t\n"), written("def f(t):\n    return 2\n")),
         "two functions are called 'f'"),
        ((3,), "a method is a name, a call or a function, not a int"),
        (("mean-head",), "'mean-heads'"),
    ],
)  # fmt: skip
def test_misuse_of_functions_is_one_sentence(
    spec: xbench.RunSpec,
    options: xbench.ExecutionOptions,
    methods: tuple[Any, ...],
    message: str,
) -> None:
    with pytest.raises(xbench.UsageError, match=message) as problem:
        xbench.evaluate(replace(spec, methods=methods), options)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("wrong", [one_row, negative, no_tensor, needs_more])
def test_explaining_by_a_wrong_function_is_the_same_sentence(
    spec: xbench.RunSpec, tiny: WhisperModel, wrong: Any
) -> None:
    with pytest.raises(xbench.UsageError, match=f"function '{wrong.__name__}'"):
        xbench.explain(Path(str(spec.data)).parent / "a.wav", tiny, wrong)


class NoModel:
    """Has two of the things that a model has."""

    info = None

    def encode(self, values: Any) -> Any:
        return values


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (NoModel(), "a NoModel is no model that can be explained: it lacks .*decode"),
        (Path("folder"), "a PosixPath is no model"),
    ],
)
def test_what_is_no_model_is_told_before_any_work(
    spec: xbench.RunSpec, model: Any, message: str
) -> None:
    with pytest.raises(xbench.UsageError, match=message) as problem:
        prepare(replace(spec, model=model))
    assert "\n" not in str(problem.value)


def test_a_loaded_model_is_as_it_was_loaded(
    spec: xbench.RunSpec, options: xbench.ExecutionOptions
) -> None:
    with pytest.raises(xbench.UsageError, match="precision of the loaded model is float32"):
        xbench.evaluate(replace(spec, precision="bfloat16"), options)
    with pytest.raises(xbench.UsageError, match="device of the loaded model is cpu"):
        xbench.evaluate(spec, replace(options, device="cuda"))


def test_the_plan_holds_names_alone(spec: xbench.RunSpec, tiny: WhisperModel) -> None:
    plan = prepare(spec)
    assert plan.model is tiny
    assert plan.spec.model == tiny.info.name
    assert list(map(str, plan.spec.methods)) == ["mean-heads", "same_as_mean_heads"]
    assert not isinstance(plan.spec.methods[1], UnknownName)


# -- fingerprints ---------------------------------------------------------------------------------

CODE = "def f(trace):\n    return g(trace) * {factor} + OFFSET\n"
HELPER = "def g(trace):\n    return trace + {plus}\n"


def session(factor: int = 2, plus: int = 1, offset: Any = 3, remark: str = "") -> Any:
    code = HELPER.format(plus=plus) + f"# {remark}\n" + CODE.format(factor=factor)
    return written(code, OFFSET=offset)


def test_a_fingerprint_follows_the_code_and_all_it_refers_to() -> None:
    same = fingerprint(session())
    assert fingerprint(session(remark="other words")) == same
    changes: list[dict[str, Any]] = [
        {"factor": 5},
        {"plus": 7},
        {"offset": 4},
        {"offset": 3.0},
        {"offset": np.zeros(2)},
        {"offset": np.ones(2)},
        {"offset": torch.ones(2)},
        {"offset": {"a": 1}},
        {"offset": {"a": (1, {2})}},
    ]
    others = {fingerprint(session(**change)) for change in changes}
    assert len({same, *others}) == 1 + len(changes)
    assert all(fingerprint(session(**c)) == fingerprint(session(**c)) for c in changes)


def test_a_fingerprint_follows_defaults_closures_and_partials() -> None:
    from functools import partial

    def make(inner: Any, default: int) -> Any:
        def f(trace: Any, by: int = default) -> Any:
            return trace * inner * by

        return f

    found = [
        *(fingerprint(make(*pair)) for pair in ((1, 1), (2, 1), (1, 2))),
        fingerprint(partial(make(1, 1), by=3)),
        fingerprint(partial(make(1, 1), by=4)),
    ]
    assert len(set(found)) == 5
    assert fingerprint(make(1, 1)) == found[0]


def test_functions_that_call_each_other_have_an_end() -> None:
    code = "def f(n):\n    return g(n)\ndef g(n):\n    return f(n - {by}) if n else 0\n"
    one, same, other = (written(code.format(by=by)) for by in (1, 1, 2))
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)


@pytest.mark.parametrize(
    "value",
    [object(), NoModel, torch.ones(2, dtype=torch.bfloat16), np.array([object()])],
    ids=["object", "class", "bfloat16", "array of objects"],
)
def test_what_cannot_be_told_is_never_the_same(value: Any) -> None:
    one = session(offset=value)
    assert fingerprint(one) != fingerprint(one)


def test_packages_count_by_name_and_version() -> None:
    assert fingerprint(session(offset=np)) == fingerprint(session(offset=np))
    assert fingerprint(session(offset=np)) != fingerprint(session(offset=torch))
    assert fingerprint(session(offset=np.mean)) != fingerprint(session(offset=np.median))
