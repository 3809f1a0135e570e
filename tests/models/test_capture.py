"""The residual stream around attention blocks, read by hooks and rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from xbench.case import Case
from xbench.models.capture import PreNorm, Stack, captured_blocks, feed_forward
from xbench.trace import Norm, Trace

ALL = frozenset({"cross-projections", "encoder-projections", "decoder-projections"})


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(params=["tiny", "micro"])
def case(
    request: pytest.FixtureRequest, case_of: Callable[..., Case], clip: Callable[..., Any]
) -> Case:
    return case_of(request.getfixturevalue(request.param), clip(1.1, 3))


@pytest.fixture
def trace(case: Case) -> Trace:
    return case.model.trace(case.features, case.hypothesis, ALL)


def test_block_output_and_residual_are_the_next_stream(trace: Trace) -> None:
    for layers in trace.blocks.values():
        for layer in layers:
            stream = trace.stream(layer)
            close(stream.before + layer.output, stream.after)
            summed = torch.einsum("hps,shd->pd", layer.attention(), layer.transformed())
            close(stream.before + summed + layer.output_bias, stream.after)


def test_the_rest_of_the_layer_leads_to_the_next_layer(trace: Trace) -> None:
    for name, layers in trace.blocks.items():
        for number, layer in enumerate(layers):
            stream = trace.stream(layer)
            if name == "decoder":
                assert stream.rest is None
                after_cross = trace.stream(trace.blocks["cross"][number])
                close(stream.after, after_cross.before)
                close(stream.layer_output, after_cross.layer_output)
            else:
                assert stream.rest is not None
                close(stream.rest(stream.after), stream.layer_output)
            if name != "cross" and number + 1 < len(layers):
                close(stream.layer_output, trace.stream(layers[number + 1]).before)


def test_the_streams_are_the_hidden_states_of_the_model(case: Case, trace: Trace) -> None:
    model = case.model.network.model
    ids = torch.tensor([case.hypothesis.prompt + case.hypothesis.tokens[:-1]])
    with torch.inference_mode():
        output = model(
            case.features.values.T[None], decoder_input_ids=ids, output_hidden_states=True
        )
    for name, states in (
        ("encoder", output.encoder_hidden_states),
        ("decoder", output.decoder_hidden_states),
    ):
        layers = trace.blocks[name]
        for layer, expected in zip(layers, states, strict=False):
            close(trace.stream(layer).before, expected[0])
        last = trace.stream(layers[-1])
        close(last.layer_norm(last.layer_output), states[-1][0])


def test_values_are_made_of_the_normalised_stream(case: Case, trace: Trace) -> None:
    """The LayerNorm before a block is inside its values: what norms and ALTI rely on."""
    model = case.model.network.model
    for name, coder in (("encoder", model.encoder), ("decoder", model.decoder)):
        for module, layer in zip(coder.layers, trace.blocks[name], strict=True):
            before = trace.stream(layer).before
            value = module.self_attn.v_proj(module.self_attn_layer_norm(before))
            close(layer.value.transpose(0, 1).flatten(1), value)


def test_norms_are_those_that_read_the_stream(case: Case, trace: Trace) -> None:
    model = case.model.network.model
    encoder, decoder = model.encoder.layers, model.decoder.layers
    expected = {
        "encoder": [layer.final_layer_norm for layer in encoder],
        "decoder": [layer.encoder_attn_layer_norm for layer in decoder],
        "cross": [layer.final_layer_norm for layer in decoder],
    }
    for name, modules in expected.items():
        coder = model.encoder if name == "encoder" else model.decoder
        ends = [layer.self_attn_layer_norm for layer in coder.layers[1:]] + [coder.layer_norm]
        for layer, module, end in zip(trace.blocks[name], modules, ends, strict=True):
            stream = trace.stream(layer)
            assert stream.next_norm.weight is module.weight
            assert stream.layer_norm.weight is end.weight
            close(stream.next_norm(stream.after), module(stream.after))


def test_a_stack_that_nobody_asked_for_has_no_stream(case: Case) -> None:
    needs = frozenset({"cross-projections", "encoder-attention"})
    trace = case.model.trace(case.features, case.hypothesis, needs)
    assert sorted(trace.blocks) == ["cross"]
    assert all(layer.stream is not None for layer in trace.blocks["cross"])


def hooks(network: Any) -> list[int]:
    """Count the hooks of every module; transformers has some of its own."""
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]


def test_hooks_are_gone_also_after_an_error(case: Case, trace: Trace) -> None:
    network = case.model.network
    before = hooks(network)
    case.model.trace(case.features, case.hypothesis, ALL)
    assert hooks(network) == before
    layer = network.model.encoder.layers[0]
    norm = layer.self_attn_layer_norm
    around = PreNorm(norm, layer.final_layer_norm, norm, None)

    def fail() -> None:
        stack = Stack([layer.self_attn], heads=1, streams=[around])
        with captured_blocks({"encoder": stack}, {"encoder"}):
            assert sum(hooks(network)) == sum(before) + 6  # four projections, two norms
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert hooks(network) == before


def test_there_is_a_stream_for_every_layer_or_an_error_that_leaves_no_hook(
    case: Case, trace: Trace
) -> None:
    network = case.model.network
    before = hooks(network)
    layers = network.model.encoder.layers
    norm = layers[0].self_attn_layer_norm
    too_few = [PreNorm(norm, norm, norm, None)]
    stacks = {"encoder": Stack([layer.self_attn for layer in layers], heads=1, streams=too_few)}
    with (
        pytest.raises(ValueError, match="argument 2 is shorter"),
        captured_blocks(stacks, {"encoder"}),
    ):
        pass
    assert hooks(network) == before


def test_attention_of_some_positions_is_a_part_of_all(trace: Trace) -> None:
    for layers in trace.blocks.values():
        for layer in layers:
            whole = layer.attention()
            pieces = list(layer.pieces(3))
            assert [p for piece in pieces for p in range(piece.start, piece.stop)] == list(
                range(whole.shape[1])
            )
            close(torch.cat([layer.attention(piece) for piece in pieces], 1), whole)


def test_norm_by_hand() -> None:
    norm = Norm(torch.tensor([2.0, 1.0]), torch.tensor([0.5, 0.0]), 0.0)
    states = torch.tensor([[1.0, 5.0]])  # mean 3, deviation 2
    torch.testing.assert_close(norm(states), torch.tensor([[-1.5, 1.0]]))
    torch.testing.assert_close(norm.linear(states), torch.tensor([[-4.0, 2.0]]))


def test_feed_forward_by_hand_in_float32() -> None:
    norm, inner, outer = torch.nn.LayerNorm(2), torch.nn.Linear(2, 1), torch.nn.Linear(1, 2)
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([3.0, 0.0]))
        inner.weight.copy_(torch.tensor([[1.0, 2.0]]))
        inner.bias.fill_(-1.0)
        outer.weight.copy_(torch.tensor([[1.0], [10.0]]))
        outer.bias.copy_(torch.tensor([0.0, 0.5]))
        rest = feed_forward(norm.bfloat16(), inner.bfloat16(), outer.bfloat16(), torch.square)
        # (1, 5) becomes (-1, 1) + (3, 0) = (2, 1); inner 2 + 2 - 1 = 3, squared 9; outer 9, 90.5.
        found = rest(torch.tensor([[1.0, 5.0]], dtype=torch.bfloat16))
    torch.testing.assert_close(found, torch.tensor([[10.0, 95.5]]), rtol=1e-4, atol=1e-4)
