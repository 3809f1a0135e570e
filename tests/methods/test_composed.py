"""What holds for every method that follows attention through the network."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from composed_network import ALL, block, close, network
from torch import Tensor

from xbench import registry
from xbench.case import Case
from xbench.errors import Unsupported
from xbench.methods.compute import compute_map
from xbench.spec import Call
from xbench.trace import Trace

CALLS = {
    "encoder-rollout": {},
    "full-rollout": {},
    "attention-flow": {},
    "value-norm": {},
    "value-norm:separate": {"heads": "separate"},
    "value-norm-resln": {},
    "globenc": {},
    "alti": {},
    "alti-plus": {},
    "value-zeroing": {},
    "value-zeroing:encoder": {"variant": "encoder", "group": 1},
}
every_method = pytest.mark.parametrize("name", CALLS)


def explain(name: str, trace: Trace, **params: Any) -> Tensor:
    method = registry.methods.get(name.partition(":")[0])
    call = method.resolve(Call.make(method.name, CALLS[name] | params))
    values: Tensor = method.load()(trace, **call.given)
    return values


def peaked(prompt: int, frames: int, total: int, positions: int) -> Trace:
    """Position p looks at frame p and a little at all others; nothing else mixes."""
    mostly = 0.9 * torch.eye(positions, total) + 0.1 / total
    still = torch.eye(total)[None]
    # Streams along a direction of their own, and values across: each frame turns the state alike.
    values = torch.eye(total)[None]
    before = torch.full((positions, total), 0.3)
    cross = block((mostly / mostly.sum(1, keepdim=True))[None], value=values, before=before)
    own = block(torch.eye(positions)[None], causal=True)
    encoder = block(still, value=values, before=torch.full((total, total), 0.3))
    return network(
        cross=[cross, cross], decoder=[own, own], encoder=[encoder], frames=frames, prompt=prompt
    )


@every_method
@pytest.mark.parametrize("prompt", [1, 3])
def test_row_i_is_the_position_that_predicts_token_i(name: str, prompt: int) -> None:
    """Prompt rows are dropped, end-of-text stays, padding is cropped, rows sum to one."""
    positions, frames, total = 6, 6, 9
    found = explain(name, peaked(prompt, frames, total, positions))
    assert found.shape == (positions - prompt + 1, frames)
    assert found.argmax(1).tolist() == list(range(prompt - 1, positions))
    close(found.sum(1), torch.ones(len(found)))
    assert (found >= 0).all()


@pytest.fixture
def case(tiny: Any, case_of: Callable[..., Case], clip: Callable[..., Any]) -> Case:
    return case_of(tiny, clip(0.7, 3))


@pytest.fixture
def real(case: Case) -> Trace:
    return case.model.trace(case.features, case.hypothesis, ALL)


@every_method
def test_maps_of_a_real_model_keep_what_the_description_promises(
    name: str, case: Case, real: Trace
) -> None:
    method = registry.methods.get(name.partition(":")[0])
    trace = case.model.trace(case.features, case.hypothesis, method.needs)
    traced = Case(case.model, case.features, case.hypothesis, case.key, trace)
    call = method.resolve(Call.make(method.name, CALLS[name]))
    found = compute_map(method, call, traced)
    assert method.distribution
    close(found.sum(1), torch.ones(len(case.hypothesis.tokens)))
    close(found, explain(name, real))  # what others asked for changes nothing
    assert found.std(1).min() > 1e-4


def tensors(trace: Trace) -> list[Tensor]:
    found = [trace.cross_attention, trace.padding_mass]
    for layers in trace.blocks.values():
        for layer in layers:
            found += [layer.query, layer.key, layer.value, layer.output, layer.output_weight]
            stream = trace.stream(layer)
            found += [stream.before, stream.after, stream.layer_output, stream.next_norm.weight]
    return found


@every_method
def test_a_method_repeats_itself_and_leaves_the_trace_alone(name: str, real: Trace) -> None:
    copies = [tensor.clone() for tensor in tensors(real)]
    assert torch.equal(explain(name, real), explain(name, real))
    assert all(map(torch.equal, copies, tensors(real)))


@every_method
def test_half_precision_is_computed_in_float32(name: str, case: Case) -> None:
    """What is stored in bfloat16 is only rounded; the map stays what it is."""
    exact = explain(name, case.model.trace(case.features, case.hypothesis, ALL))
    half = replace(case.model, network=deepcopy(case.model.network).to(torch.bfloat16))
    found = explain(name, half.trace(case.features, case.hypothesis, ALL))
    assert found.dtype == torch.float32
    close(found.sum(1), torch.ones(len(found)))
    assert torch.corrcoef(torch.stack([found.flatten(), exact.flatten()]))[0, 1] > 0.9


@every_method
def test_a_trace_without_projections_is_unsupported(
    name: str, make_trace: Callable[..., Trace]
) -> None:
    with pytest.raises(Unsupported, match=r"this model's trace holds no .* projections"):
        explain(name, make_trace(torch.full((1, 1, 2, 3), 1 / 3)))


@pytest.mark.parametrize(
    "name", ["value-norm-resln", "globenc", "alti", "alti-plus", "value-zeroing"]
)
def test_a_trace_without_the_stream_is_unsupported(name: str) -> None:
    bare = replace(block([[[0.5, 0.5], [0.5, 0.5]]]), stream=None)
    trace = network(cross=[bare], decoder=[bare], encoder=[bare])
    with pytest.raises(Unsupported, match="does not hold the residual stream"):
        explain(name, trace)


@pytest.mark.parametrize(
    "name",
    ["encoder-rollout", "value-norm", "value-norm-resln", "globenc", "alti", "value-zeroing"],
)
def test_a_layer_that_does_not_exist_is_unsupported(name: str, real: Trace) -> None:
    with pytest.raises(Unsupported, match="layer 2 does not exist: the decoder has layers 0 to 1"):
        explain(name, real, layers="0+2")
    assert not torch.allclose(explain(name, real, layers="0"), explain(name, real, layers="1"))
    assert torch.equal(explain(name, real, layers="1+0"), explain(name, real, layers="all"))
    assert torch.equal(explain(name, real, layers="last"), explain(name, real, layers="1"))
