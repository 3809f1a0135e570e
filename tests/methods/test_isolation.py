"""A careless method harms no other: what it changed is named and put back, what it wrote stays its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from numpy.random import mtrand
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import xbench
from xbench.case import Case
from xbench.errors import Unsupported
from xbench.methods.compute import compute_map
from xbench.methods.isolation import lent, unchanged
from xbench.models.derived import reinitialised
from xbench.models.kept_state import Keeper
from xbench.models.loading import load_model
from xbench.models.metered import MeteredModel
from xbench.models.network_look import look
from xbench.runner.own import described
from xbench.runner.plan import Method
from xbench.testing import small

WANTED = frozenset({"encoder-projections", "cross-projections", "encoder-attention"})


@pytest.fixture
def case(tiny: Any, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]) -> Case:
    return traced(case_of(tiny, clip(1.3, 0)))


def traced(case: Case) -> Case:
    model = MeteredModel(case.model)
    return replace(case, model=model, trace=model.trace(case.features, case.hypothesis, WANTED))


def isolated(function: Callable[[Case], Any], case: Case, keeper: Keeper | None = None) -> Any:
    def run(case: Case) -> torch.Tensor:
        function(case)
        return case.trace.cross_attention.mean((0, 1))  # type: ignore[union-attr]

    description = xbench.method(run, takes="case", name="careless", needs=WANTED)
    return isolated_map(description, case, keeper or Keeper())


def isolated_map(description: Any, case: Case, keeper: Keeper) -> Any:
    with unchanged(case.model, keeper):
        call = xbench.Call(description.name)
        return compute_map(description, call, lent(case, description.needs), None)


def others(case: Case) -> list[np.ndarray]:
    """Return the maps of some methods of ours: of the trace, of the model's gradients, of other passes."""
    retraced = traced(case)
    found = []
    for name in ("mean-heads", "saliency", "encoder-rollout", "occlusion-encoder"):
        method = Method.of(name)
        for one in (case, retraced):
            needs = {*method.description.needs} - WANTED
            assert not needs, needs
            found.append(compute_map(method.description, method.call, one))
    return found


def network(case: Case) -> Any:
    return case.model.network  # type: ignore[attr-defined]


def weight(case: Case) -> Any:
    return network(case).get_encoder().layers[0].fc1.weight


def forget_hook(case: Case) -> None:
    network(case).get_encoder().register_forward_hook(lambda m, i, o: (o[0] * 0.5, *o[1:]))


def forget_global_hook(case: Case) -> None:
    torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: None)


def write_weights(case: Case) -> None:
    with torch.no_grad():
        weight(case)[3, 5] = 0.0


def write_data(case: Case) -> None:
    weight(case).data.mul_(0.5)


def replace_data(case: Case) -> None:
    weight(case).data = torch.zeros_like(weight(case))


def replace_parameter(case: Case) -> None:
    network(case).get_encoder().layers[0].fc1.weight = torch.nn.Parameter(weight(case) * 2)


def train(case: Case) -> None:
    network(case).train()


def ask_for_gradients(case: Case) -> None:
    network(case).requires_grad_(True)


def patch_module(case: Case) -> None:
    layer = network(case).get_decoder().layers[0]
    layer.forward = lambda *given, **named: type(layer).forward(layer, *given, **named)


def wrap_module(case: Case) -> None:
    layer = network(case).get_encoder().layers[0]
    layer.forward = partial(lambda plain, *given, **named: plain(given[0] * 0.5), layer.forward)


class Halved:
    """A forward pass that is an object, and no function."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.forward(given[0] * 0.5)


def wrap_in_an_object(case: Case) -> None:
    layer = network(case).get_encoder().layers[0].fc1
    layer.forward = Halved(layer.forward)


class Skips(torch.nn.Module):
    """A module that does nothing."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states


def change_class(case: Case) -> None:
    network(case).get_encoder().layer_norm.__class__ = Skips


def prune(case: Case) -> None:
    layer = network(case).get_encoder().layers[0].fc1
    torch.nn.utils.prune.l1_unstructured(layer, "weight", amount=0.5)


def wrap_attention(case: Case) -> None:
    name = network(case).config._attn_implementation
    plain = ALL_ATTENTION_FUNCTIONS[name]

    def halved(*given: Any, **named: Any) -> Any:
        states, weights = plain(*given, **named)
        return states * 0.5, weights

    ALL_ATTENTION_FUNCTIONS.register(name, halved)


def lose_a_language(case: Case) -> None:
    network(case).generation_config.lang_to_id.clear()


def scale_filters(case: Case) -> None:
    model: Any = case.model
    model.extractor.mel_filters = model.extractor.mel_filters * 2


def patch_tokenizer(case: Case) -> None:
    model: Any = case.model
    model.tokenizer.decode = lambda *given, **named: "x"


def lack_attention(case: Case) -> None:
    lacking: Any = case.model.info.lacking
    lacking["encoder-attention"] = "no"


def rename_model(case: Case) -> None:
    object.__setattr__(case.model.info, "name", "mine")


def patch_class(case: Case) -> None:
    kind, plain = torch.nn.LayerNorm, torch.nn.LayerNorm.forward
    kind.forward = lambda self, states: plain(self, states) * 0.9  # type: ignore[method-assign]


def patch_torch(case: Case) -> None:
    torch.nn.functional.softmax = lambda *given, **named: given[0]  # type: ignore[assignment]


def ablate_a_head(case: Case) -> None:
    weight = network(case).get_decoder().layers[-1].encoder_attn.out_proj.weight
    width = weight.shape[1] // 4
    weight.data[:, width : 2 * width] = 0


def replace_block(case: Case) -> None:
    network(case).get_encoder().layers[1] = torch.nn.Identity()


def scale_attention(case: Case) -> None:
    network(case).get_decoder().layers[0].encoder_attn.scaling = 3.0


def choose_kernel(case: Case) -> None:
    network(case).config._attn_implementation = "eager"


def search_wider(case: Case) -> None:
    network(case).generation_config.num_beams = 7


def patch_model(case: Case) -> None:
    model: Any = case.model
    vars(model.measured)["encode"] = lambda values: torch.zeros(1)


def lose_network(case: Case) -> None:
    model: Any = case.model
    del vars(model.measured)["network"]


BEGUN: list[Any] = []  # a context manager that is thrown away ends


def begin_inference_mode(case: Case) -> None:
    BEGUN.append(torch.inference_mode())
    BEGUN[-1].__enter__()


CHANGES: dict[str, tuple[Callable[[Case], Any], str]] = {
    "hook": (forget_hook, "the forward hooks of module 'model.encoder'"),
    "global hook": (forget_global_hook, "the global forward hooks of torch.nn.modules.module"),
    "weights": (write_weights, "weight 'model.encoder.layers.0.fc1.weight'"),
    "weights through .data": (write_data, "weight 'model.encoder.layers.0.fc1.weight'"),
    "other data": (replace_data, "weight 'model.encoder.layers.0.fc1.weight'"),
    "other parameter": (replace_parameter, "the parameters of module 'model.encoder.layers.0.fc1'"),
    "training flag": (train, "'training' of "),
    "gradients": (ask_for_gradients, "the gradient of weight "),
    "forward of a module": (patch_module, "'forward' of module 'model.decoder.layers.0'"),
    "wrapped forward": (wrap_module, "'forward' of module 'model.encoder.layers.0'"),
    "forward that is an object": (wrap_in_an_object, "'forward' of module"),
    "class of a module": (change_class, "the class of module 'model.encoder.layer_norm'"),
    "pruned weight": (prune, "of module 'model.encoder.layers.0.fc1'"),
    "registered attention": (wrap_attention, "the global mapping of AttentionInterface"),
    "languages": (lose_a_language, "'lang_to_id' of the GenerationConfig"),
    "feature extractor": (scale_filters, "'mel_filters' of the model's WhisperFeatureExtractor"),
    "tokenizer": (patch_tokenizer, "'decode' of the model's "),
    "what the model lacks": (lack_attention, "'lacking' of the model's ModelInfo"),
    "name of the model": (rename_model, "'name' of the model's ModelInfo"),
    "forward of a class": (patch_class, "'forward' of LayerNorm"),
    "function of torch": (patch_torch, "'softmax' of torch.nn.functional"),
    "head": (ablate_a_head, "weight 'model.decoder.layers.1.encoder_attn.out_proj.weight'"),
    "other block": (replace_block, "the modules of module 'model.encoder.layers'"),
    "attribute": (scale_attention, "'scaling' of module 'model.decoder.layers.0.encoder_attn'"),
    "configuration": (choose_kernel, "of the WhisperConfig"),
    "generation": (search_wider, "'num_beams' of the GenerationConfig"),
    "model object": (patch_model, "'encode' of the model"),
    "attribute of the model": (lose_network, "'network' of the model"),
    "default dtype": (lambda case: torch.set_default_dtype(torch.float64), "default dtype"),
    "default device": (lambda case: torch.set_default_device("meta"), "default device"),
    "gradient mode": (lambda case: torch.set_grad_enabled(False), "the gradient mode"),
    "inference mode": (begin_inference_mode, "the gradient mode"),
    "autocast": (lambda case: torch.set_autocast_enabled("cpu", True), "autocast"),
    "seed of torch": (lambda case: torch.manual_seed(0), "torch's global random numbers"),
    "draw of torch": (lambda case: torch.rand(1), "torch's global random numbers"),
    "seed of numpy": (lambda case: np.random.seed(0), "numpy's global random numbers"),
    "draw of numpy": (lambda case: np.random.rand(), "numpy's global random numbers"),
    "threads": (lambda case: torch.set_num_threads(3), "torch's number of threads"),
    "deterministic": (
        lambda case: torch.use_deterministic_algorithms(True),
        "whether torch uses deterministic algorithms",
    ),
    "precision": (
        lambda case: torch.set_float32_matmul_precision("medium"),
        "the precision of torch's float32 products",
    ),
    "precision by its newer name": (
        lambda case: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        "the precision of torch's float32 products",
    ),
    "precision of everything": (
        lambda case: setattr(torch.backends, "fp32_precision", "tf32"),
        "the precision of torch's float32 products",
    ),
    "numpy errors": (lambda case: np.seterr(all="raise"), "how numpy treats"),
    "working directory": (lambda case: os.chdir("/"), "the working directory"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_method_changes_is_named_and_put_back(name: str, case: Case) -> None:
    change, told = CHANGES[name]
    before, folder = others(case), Path.cwd()
    with pytest.raises(Unsupported) as refusal:
        isolated(change, case)
    assert told in str(refusal.value)
    assert Path.cwd() == folder
    for found, expected in zip(others(case), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    isolated(lambda case: None, case)  # nobody after it is blamed


@pytest.mark.parametrize("generator", [np.random.MT19937, np.random.PCG64])
def test_a_normal_number_of_numpy_that_was_left_over_is_missed(
    generator: Callable[[int], Any], case: Case
) -> None:
    """Two are drawn at a time; taking the second changes no state but that it is gone."""
    before = mtrand.get_bit_generator()
    mtrand.set_bit_generator(generator(3))
    try:
        np.random.standard_normal()
        expected = np.random.get_state(legacy=False)
        with pytest.raises(Unsupported, match="numpy's global random numbers"):
            isolated(lambda case: np.random.standard_normal(), case)
        np.testing.assert_equal(np.random.get_state(legacy=False), expected)
        isolated(lambda case: None, case)
    finally:
        mtrand.set_bit_generator(before)


@pytest.mark.parametrize("name", ["hook", "weights", "default dtype"])
def test_it_is_put_back_after_an_exception_too(name: str, case: Case) -> None:
    def fails(case: Case) -> None:
        CHANGES[name][0](case)
        raise ValueError("no such luck")

    before = others(case)
    with pytest.raises(ValueError, match="no such luck"):
        isolated(fails, case)
    for found, expected in zip(others(case), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def write_trace(case: Case) -> None:
    assert case.trace is not None
    case.trace.cross_attention[..., 0] = 0


@torch.inference_mode()
def write_trace_in_inference_mode(case: Case) -> None:
    write_trace(case)
    case.trace.blocks["encoder"][0].query.zero_()  # type: ignore[union-attr]


def write_trace_through_numpy(case: Case) -> None:
    case.trace.cross_attention.numpy()[:] = 7  # type: ignore[union-attr]
    case.features.values.numpy()[:] = 7


def write_trace_through_data(case: Case) -> None:
    case.trace.encoder_attention.data.zero_()  # type: ignore[union-attr]


def write_hypothesis(case: Case) -> None:
    object.__setattr__(case.hypothesis, "content", (0,))


def write_spectrogram(case: Case) -> None:
    case.features.values.zero_()


def replace_blocks(case: Case) -> None:
    blocks: Any = case.trace.blocks  # type: ignore[union-attr]
    blocks.clear()


def patch_wrapper(case: Case) -> None:
    case.model.logits = lambda *given: torch.zeros(1)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "write",
    [
        write_trace,
        write_trace_in_inference_mode,
        write_trace_through_numpy,
        write_trace_through_data,
        write_spectrogram,
        write_hypothesis,
        replace_blocks,
        patch_wrapper,
    ],
)
def test_what_a_method_writes_into_its_case_reaches_nobody(
    write: Callable[[Case], None], case: Case
) -> None:
    before = others(case)
    isolated(write, case)
    for found, expected in zip(others(case), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_new_entry_in_the_table_of_attentions_is_no_change(case: Case) -> None:
    """A module that is imported for the first time by a method adds one, and never again."""
    keeper = Keeper()
    isolated(lambda case: None, case, keeper)
    isolated(lambda case: ALL_ATTENTION_FUNCTIONS.register("theirs", print), case, keeper)
    with pytest.raises(Unsupported, match="the global mapping"):
        isolated(wrap_attention, case, keeper)
    assert ALL_ATTENTION_FUNCTIONS["theirs"] is print
    type(ALL_ATTENTION_FUNCTIONS)._global_mapping.pop("theirs")


def test_mel_filters_cannot_be_written_to(case: Case) -> None:
    def scales(case: Case) -> None:
        model: Any = case.model
        model.extractor.mel_filters *= 2

    kept = case.model.extractor.mel_filters.copy()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="read-only"):
        isolated(scales, case)
    np.testing.assert_array_equal(case.model.extractor.mel_filters, kept)  # type: ignore[attr-defined]
    assert case.model.extractor.mel_filters.flags.writeable  # type: ignore[attr-defined]


def test_everything_is_put_back_though_a_setting_cannot_be_read_any_more(case: Case) -> None:
    def both(case: Case) -> None:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        write_data(case)

    before = others(case)
    with pytest.raises(Unsupported, match="the precision of torch's float32 products"):
        isolated(both, case)
    assert torch.get_float32_matmul_precision() == "highest"
    for found, expected in zip(others(case), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_derived_network_that_a_method_was_given_is_made_anew(case: Case) -> None:
    def changes(case: Case) -> None:
        reinitialised(network(case), 7).get_encoder().layers[0].fc1.weight.zero_()

    before = reinitialised(network(case), 7)
    isolated(changes, case)
    after = reinitialised(network(case), 7)
    assert after is not before
    assert after.get_encoder().layers[0].fc1.weight.abs().sum() > 0


def test_a_method_is_lent_what_it_asked_for_only(case: Case) -> None:
    def look_around(case: Case) -> torch.Tensor:
        assert case.trace is not None
        assert case.trace.blocks == {}
        assert case.trace.encoder_attention is None
        return case.trace.cross_attention.mean((0, 1))

    method = described(xbench.method(look_around, takes="case"))
    isolated_map(method, case, Keeper())


def test_a_change_that_is_undone_is_none(case: Case) -> None:
    def undone(case: Case) -> None:
        kept = weight(case).clone()
        weight(case).zero_()
        weight(case).copy_(kept)
        network(case).get_encoder().register_forward_hook(lambda m, i, o: None).remove()

    isolated(undone, case)


def test_changes_on_purpose_between_two_calls_stay(case: Case) -> None:
    keeper, kept = Keeper(), weight(case).detach().clone()
    isolated(lambda case: None, case, keeper)
    with torch.no_grad():
        weight(case).mul_(2)
    with pytest.raises(Unsupported):
        isolated(write_weights, case, keeper)
    torch.testing.assert_close(weight(case), 2 * kept, rtol=0, atol=0)
    with torch.no_grad():
        weight(case).copy_(kept)


def test_passes_of_an_isolated_method_are_counted(case: Case) -> None:
    before = case.model.passes  # type: ignore[attr-defined]
    isolated(
        lambda case: case.model.logits(
            case.model.encode(case.features.values[None]), case.hypothesis
        ),
        case,
    )
    assert (case.model.passes - before).forward == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", sorted(small.WRITERS))
def test_passes_of_every_family_change_nothing(
    family: str, tmp_path: Path, clip: Callable[..., np.ndarray]
) -> None:
    """Networks that remember positions between passes are blamed on nobody."""
    model: Any = load_model(
        f"{family}:{small.write_small(family, tmp_path / family)}", device="cpu"
    )
    keeper = Keeper()
    for seconds in (0.7, 1.1, 0.5):
        features = model.features(clip(seconds, 0))
        with unchanged(model, keeper):
            model.encode(features.values[None])


COST = """
import time
import torch
from xbench.methods.isolation import lent, unchanged
from xbench.models.kept_state import Keeper
from xbench.models.loading import load_model
from xbench.testing.demo_clips import demo_cases
from dataclasses import replace

torch.set_num_threads(1)
model, keeper = load_model("xbench-tiny", device="cpu"), Keeper()
case = demo_cases(model)[0]
trace = model.trace(case.features, case.hypothesis, frozenset())

def isolate():
    with unchanged(model, keeper):
        lent(replace(case, trace=trace), frozenset())

def seconds(work):
    taken = []
    for _ in range(20):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)

print(seconds(isolate) / seconds(lambda: model.trace(case.features, case.hypothesis, frozenset())))
"""


def test_it_takes_a_small_part_of_a_trace() -> None:
    """Measured on the packaged model, whose traces are the cheapest there are, without the types that tests check."""
    done = subprocess.run([sys.executable, "-c", COST], capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < 0.05  # 0.028 measured


def test_a_look_at_a_network_that_stays_sees_nothing(tiny: Any) -> None:
    assert look(tiny.network).change() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.int64])
@pytest.mark.parametrize("turned", [False, True])
def test_a_write_that_torch_does_not_count_is_seen(dtype: torch.dtype, turned: bool) -> None:
    network, keeper = torch.nn.Module(), Keeper()
    values = torch.arange(12.0).reshape(3, 4).to(dtype)
    network.register_buffer("table", values.t() if turned else values)
    keeper.keep(network)
    assert keeper.change(network) is None
    network.table.data.add_(1)  # type: ignore[operator, union-attr]
    assert keeper.change(network) == "weight 'table'"
    keeper.put_back(network)
    assert torch.equal(values, torch.arange(12.0).reshape(3, 4).to(dtype))


@pytest.mark.parametrize(
    "shape", [(1, 1), (7, 1), (1, 7), (6, 4), (4, 6), (64, 64), (3, 5, 4), (5,), (40, 3, 3)]
)
def test_no_row_and_no_column_changes_unseen(shape: tuple[int, ...]) -> None:
    network, keeper = torch.nn.Module(), Keeper()
    network.register_buffer("table", torch.ones(shape))
    table: Any = network.table
    keeper.keep(network)
    matrix = table.data.view(len(table), -1) if table.ndim > 1 else table.data.view(1, -1)
    for line in (*matrix, *matrix.t()):
        line.mul_(2)
        assert keeper.change(network) == "weight 'table'"
        line.div_(2)
        assert keeper.change(network) is None


def test_a_weight_that_becomes_part_of_a_computation_is_named_without_a_warning() -> None:
    network, keeper = torch.nn.Linear(2, 2), Keeper()
    network.register_buffer("total", torch.zeros(2))
    keeper.keep(network)
    network.total.add_(network.bias)  # type: ignore[operator, union-attr]
    assert keeper.change(network) == "the gradient of weight 'total'"
    keeper.put_back(network)
    assert not network.total.any()  # type: ignore[operator, union-attr]
