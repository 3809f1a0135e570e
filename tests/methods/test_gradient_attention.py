"""Gradients of attention, against transformers' own eager weights and the rules written out densely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from xbench.case import Case
from xbench.errors import Unsupported
from xbench.methods import gradient_attention as module
from xbench.methods.gradient_attention import (
    attention_gradcam,
    chefer,
    chefer_row,
    grad_attention,
)
from xbench.models import attention_gradients
from xbench.trace import AttentionBlock

TARGETS = ("logit", "log-probability")


@pytest.fixture
def case(tiny: Any, case_of: Callable[..., Case], clip: Callable[..., Any]) -> Case:
    return case_of(tiny, clip(1.3, 3))


@dataclass(frozen=True)
class Eager:
    """Weights [head, position, source] per block and their gradients, from a graph that holds them."""

    stacks: dict[str, list[Tensor]]
    scores: Tensor

    def gradients(self, token: int, stack: str) -> list[Tensor]:
        found = torch.autograd.grad(
            self.scores[token], self.stacks[stack], retain_graph=True, allow_unused=False
        )
        return [gradient[0] for gradient in found]

    def weights(self, stack: str) -> list[Tensor]:
        return [weights[0].detach() for weights in self.stacks[stack]]


@pytest.fixture
def eager(case: Case, tiny_whisper_folder: Path) -> Callable[[str], Eager]:
    def run(target: str) -> Eager:
        from transformers import WhisperForConditionalGeneration

        network = WhisperForConditionalGeneration.from_pretrained(
            tiny_whisper_folder, attn_implementation="eager", dtype=torch.float32
        ).eval()  # its parameters require gradients, so its weights are in a graph
        hypothesis = case.hypothesis
        output = network(
            input_features=case.features.values.T[None],
            decoder_input_ids=torch.tensor([hypothesis.prompt + hypothesis.tokens[:-1]]),
            output_attentions=True,
        )
        rows = output.logits[0, len(hypothesis.prompt) - 1 :]
        if target == "log-probability":
            rows = rows.log_softmax(-1)
        return Eager(
            {
                "encoder": list(output.encoder_attentions),
                "decoder": list(output.decoder_attentions),
                "cross": list(output.cross_attentions),
            },
            rows.gather(1, torch.tensor(hypothesis.tokens)[:, None])[:, 0],
        )

    return run


def check(found: Tensor, expected: Tensor) -> None:
    """Compare row by row: rows differ by orders of magnitude."""
    assert found.shape == expected.shape
    for row, (a, b) in enumerate(zip(found.double(), expected.double(), strict=True)):
        assert (a - b).abs().max() <= 2e-3 * b.abs().max() + 1e-12, f"row {row}"
    # A row where everything counts against its token is zero, and stays so.
    assert (expected.abs().amax(1) > 0).sum() >= 2


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("layers", ["all", "0", "1"])
def test_grad_attention_by_its_definition(
    case: Case, eager: Callable[[str], Eager], layers: str, target: str
) -> None:
    graph = eager(target)
    chosen = [0, 1] if layers == "all" else [int(layers)]
    rows = []
    for token in range(len(case.hypothesis.tokens)):
        position = len(case.hypothesis.prompt) - 1 + token
        pairs = list(zip(graph.gradients(token, "cross"), graph.weights("cross"), strict=True))
        products = [(pairs[i][0] * pairs[i][1]).clamp_min(0)[:, position] for i in chosen]
        rows.append(torch.stack([p.mean(0) for p in products]).mean(0)[: case.features.frames])
    check(grad_attention(case, layers=layers, target=target), torch.stack(rows))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("layers", ["all", "0"])
def test_gradcam_by_its_definition(
    case: Case, eager: Callable[[str], Eager], layers: str, target: str
) -> None:
    graph = eager(target)
    chosen = [0, 1] if layers == "all" else [int(layers)]
    rows = []
    for token in range(len(case.hypothesis.tokens)):
        position = len(case.hypothesis.prompt) - 1 + token
        gradients, weights = graph.gradients(token, "cross"), graph.weights("cross")
        maps = []
        for layer in chosen:
            head_weight = gradients[layer].mean(dim=(1, 2), keepdim=True)
            maps.append((head_weight * weights[layer]).mean(0).clamp_min(0)[position])
        rows.append(torch.stack(maps).mean(0)[: case.features.frames])
    check(attention_gradcam(case, layers=layers, target=target), torch.stack(rows))


def normalised(matrix: Tensor) -> Tensor:
    """N(R) of the authors: (R - Id) with rows divided by their sums, NaN set to 0, plus Id."""
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    without = matrix - identity
    return torch.nan_to_num(without / without.sum(-1, keepdim=True), nan=0.0) + identity


def dense_chefer(encoder: list[Tensor], decoder: list[Tensor], cross: list[Tensor]) -> Tensor:
    """Equations 5-10 with every matrix written out."""
    r_ii = torch.eye(len(encoder[0]), dtype=torch.float64)
    for a in encoder:
        r_ii = r_ii + a @ r_ii
    r_qq = torch.eye(len(decoder[0]), dtype=torch.float64)
    r_qi = torch.zeros(len(r_qq), len(r_ii), dtype=torch.float64)
    for a_self, a_cross in zip(decoder, cross, strict=True):
        r_qq, r_qi = r_qq + a_self @ r_qq, r_qi + a_self @ r_qi
        r_qi = r_qi + normalised(r_qq).T @ (a_cross @ normalised(r_ii))
    return r_qi


@pytest.mark.parametrize("target", TARGETS)
def test_chefer_agrees_with_the_rules_written_out_on_two_plus_two_layers(
    case: Case, eager: Callable[[str], Eager], target: str
) -> None:
    graph = eager(target)
    rows = []
    for token in range(len(case.hypothesis.tokens)):
        bars = {
            stack: [
                (gradient.double() * weights.double()).clamp_min(0).mean(0)
                for gradient, weights in zip(
                    graph.gradients(token, stack), graph.weights(stack), strict=True
                )
            ]
            for stack in ("encoder", "decoder", "cross")
        }
        assert all(len(stack) == 2 for stack in bars.values())
        whole = dense_chefer(bars["encoder"], bars["decoder"], bars["cross"])
        rows.append(whole[len(case.hypothesis.prompt) - 1 + token, : case.features.frames])
    check(chefer(case, target=target), torch.stack(rows))


@pytest.mark.parametrize("position", range(4))
def test_a_row_of_the_rules_for_any_matrices(position: int) -> None:
    # Without causal masks or vanishing gradients all paths matter, the transpose too.
    generator = torch.Generator().manual_seed(position)

    def draw(*shape: int) -> list[Tensor]:
        return [torch.rand(*shape, generator=generator, dtype=torch.float64) for _ in range(2)]

    encoder, decoder, cross = draw(6, 6), draw(4, 4), draw(4, 6)
    encoder[0][2] = encoder[1][2] = 0  # an identity row in R_ii,
    decoder[0][1] = decoder[1][1] = 0  # and one in R_qq
    expected = dense_chefer(encoder, decoder, cross)
    torch.testing.assert_close(chefer_row(encoder, decoder, cross, position), expected[position])


def test_a_row_of_the_rules_by_hand() -> None:
    # One layer each. N(R_qq) = [[2, 0], [1, 1]]: row 0 of R_qq - Id is (0.5, 0), row 1 is (1, 0).
    decoder = [torch.tensor([[0.5, 0.0], [1.0, 0.0]])]
    # N(R_ii): rows of (0.2, 0.6) / 0.8 and of zeros, plus Id.
    encoder = [torch.tensor([[0.2, 0.6], [0.0, 0.0]])]
    cross = [torch.tensor([[1.0, 2.0], [4.0, 8.0]])]
    # N(R_qq)^T cross = [[2 + 4, 4 + 8], [4, 8]], times N(R_ii) = [[1.25, 0.75], [0, 1]].
    torch.testing.assert_close(chefer_row(encoder, decoder, cross, 0), torch.tensor([7.5, 16.5]))
    torch.testing.assert_close(chefer_row(encoder, decoder, cross, 1), torch.tensor([5.0, 11.0]))


def test_without_encoder_relevance_the_rules_leave_cross_attention() -> None:
    cross = [torch.tensor([[0.5, 0.25]])]
    row = chefer_row([torch.zeros(2, 2)], [torch.zeros(1, 1)], cross, 0)
    torch.testing.assert_close(row, cross[0][0])


def test_small_relevance_is_not_lost_beside_the_identity() -> None:
    generator = torch.Generator().manual_seed(1)
    encoder = [1e-9 * torch.rand(5, 5, generator=generator) for _ in range(2)]
    cross = [torch.rand(1, 5, generator=generator)]
    expected = dense_chefer(
        [1e6 * e.double() for e in encoder[:1]], [torch.zeros(1, 1).double()], [cross[0].double()]
    )
    # With one layer the normalisation removes the scale: 1e-9 and 1e-3 give the same map.
    found = chefer_row(encoder[:1], [torch.zeros(1, 1)], cross, 0)
    torch.testing.assert_close(found.double(), expected[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("method", [grad_attention, attention_gradcam])
def test_the_number_of_tokens_per_pass_changes_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch, method: Callable[..., Tensor]
) -> None:
    together = method(case, layers="all", target="logit")
    monkeypatch.setattr(attention_gradients, "_BUDGET", 1)
    torch.testing.assert_close(method(case, layers="all", target="logit"), together)


def test_chefer_token_by_token_changes_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    together = chefer(case, target="logit")
    monkeypatch.setattr(attention_gradients, "_BUDGET", 1)
    torch.testing.assert_close(chefer(case, target="logit"), together)


@pytest.mark.parametrize(("budget", "fused"), [(1, True), (2**28, False)])
def test_passes_of_one_token_take_the_kernel_that_holds_no_weights(
    case: Case, monkeypatch: pytest.MonkeyPatch, budget: int, fused: bool
) -> None:
    asked: list[Any] = []
    choose = attention_gradients.sdpa_kernel
    monkeypatch.setattr(attention_gradients, "_BUDGET", budget)
    monkeypatch.setattr(
        attention_gradients, "sdpa_kernel", lambda kernels: asked.append(kernels) or choose(kernels)
    )
    chefer(case, target="logit")
    assert [SDPBackend.FLASH_ATTENTION in kernels for kernels in asked] == [fused]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chefer_in_pieces_of_positions_changes_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    before = chefer(case, target="logit")
    monkeypatch.setattr(module, "_PIECE", size)
    torch.testing.assert_close(chefer(case, target="logit"), before)


def test_relevance_of_a_block_is_the_formula_written_out() -> None:
    generator = torch.Generator().manual_seed(4)
    attention = torch.rand(3, 40, 50, generator=generator).softmax(-1)
    value = torch.randn(3, 50, 4, generator=generator)
    context = torch.randn(2, 3, 40, 4, generator=generator)
    gradients = torch.einsum("hpc,hsc->hps", context[1], value)
    found = module._relevance(attention_gradients.BlockGradient(attention, value, context), 1)
    torch.testing.assert_close(found, (gradients * attention).clamp_min(0).mean(0))


def test_one_forward_and_one_backward_pass_for_all_tokens(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    forward, backward = type(case.model).logits, torch.autograd.grad

    def logits(*arguments: Any) -> Any:
        passes.append("forward")
        return forward(*arguments)

    def grad(*arguments: Any, **options: Any) -> Any:
        passes.append("backward")
        return backward(*arguments, **options)

    monkeypatch.setattr(type(case.model), "logits", logits)
    monkeypatch.setattr(torch.autograd, "grad", grad)
    chefer(case, target="logit")
    assert passes == ["forward", "backward"]


def test_a_model_without_attention_modules_is_unsupported(
    planted: Any, case_of: Callable[..., Case]
) -> None:
    with pytest.raises(Unsupported, match="family 'planted' cannot be reached"):
        chefer(case_of(planted), target="logit")


def test_a_layer_that_does_not_exist_is_unsupported(case: Case) -> None:
    with pytest.raises(Unsupported, match="layer 2 does not exist"):
        grad_attention(case, layers="0+2", target="logit")


def test_attention_that_cannot_be_rebuilt_is_unsupported_and_leaves_no_hooks(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uniform(block: AttentionBlock) -> Tensor:
        return torch.full((len(block.query), block.query.shape[1], block.key.shape[1]), 0.01)

    monkeypatch.setattr(AttentionBlock, "attention", uniform)
    with pytest.raises(Unsupported, match="do not follow from its projections"):
        chefer(case, target="logit")
    modules = case.model.network.modules()  # type: ignore[attr-defined]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)
