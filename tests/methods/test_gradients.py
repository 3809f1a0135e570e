"""Gradient methods, against autograd token by token, closed forms and completeness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xbench import registry
from xbench.case import Case
from xbench.errors import Unsupported
from xbench.methods import gradients
from xbench.methods.target import Scores, seeded
from xbench.models import attention_gradients
from xbench.testing.planted import Planted

SPACES = ("input", "encoder")
TARGETS = ("logit", "log-probability")


@pytest.fixture
def case(tiny: Any, case_of: Callable[..., Case], clip: Callable[..., Any]) -> Case:
    return case_of(tiny, clip(1.3, 3))


@pytest.fixture
def easy(planted: Any, case_of: Callable[..., Case]) -> Case:
    return case_of(planted)


def per_token(case: Case, space: str, target: str, at: Tensor | None = None) -> Tensor:
    """Gradients by one full, separate pass per token through the model's own attention kernel."""
    model, hypothesis, features = case.model, case.hypothesis, case.features
    rows = []
    for token, word in enumerate(hypothesis.tokens):
        if space == "input":
            leaf = features.values.clone()
            valid = features.melframes
        else:
            with torch.no_grad():
                leaf = model.encode(features.values[None])[0].clone()
            valid = features.frames
        if at is not None:
            leaf[:valid] = at
        leaf.requires_grad_()
        encoded = model.encode(leaf[None]) if space == "input" else leaf[None]
        row = model.logits(encoded, hypothesis)[0, token]
        score = row[word] if target == "logit" else row.log_softmax(-1)[word]
        rows.append(torch.autograd.grad(score, leaf)[0][:valid])
    return torch.stack(rows)


def check(found: Tensor, expected: Tensor, tolerance: float = 2e-3) -> None:
    assert found.shape == expected.shape
    assert (expected.abs().flatten(1).amax(1) > 0).sum() >= 2
    for row, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert (a - b).abs().max() <= tolerance * b.abs().max(), f"row {row}"


# -- saliency and input times gradient ------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_saliency_is_the_magnitude_of_each_tokens_gradient(case: Case, target: str) -> None:
    found = gradients.saliency(case, space="input", target=target)
    check(found, per_token(case, "input", target).abs())
    found = gradients.saliency(case, space="encoder", target=target)
    check(found, per_token(case, "encoder", target).square().sum(-1).sqrt())


@pytest.mark.parametrize("target", TARGETS)
def test_input_x_gradient_is_each_tokens_product(case: Case, target: str) -> None:
    found = gradients.input_x_gradient(case, space="input", target=target)
    check(found, per_token(case, "input", target) * case.features.valid)
    encoded = case.model.encode(case.features.values[None])[0, : case.features.frames]
    found = gradients.input_x_gradient(case, space="encoder", target=target)
    check(found, (per_token(case, "encoder", target) * encoded).sum(-1))


def test_saliency_of_a_planted_model_by_hand(easy: Case) -> None:
    # logit = 6 * mean over 2 frames, 2 melframes each, and 4 mels: every such cell has 6 / 16.
    found = gradients.saliency(easy, space="input", target="logit")
    expected = torch.zeros(3, 24, 12)
    for token, frames in enumerate(((1, 2), (5, 6), (9, 10))):
        expected[token, 2 * frames[0] : 2 * frames[1] + 2, 4:8] = 6 / 16
    torch.testing.assert_close(found, expected)
    # On the encoder output: 6 / 8 in each of 4 channels, Euclidean norm 1.5.
    found = gradients.saliency(easy, space="encoder", target="logit")
    assert found[1].tolist() == pytest.approx([0] * 5 + [1.5] * 2 + [0] * 5)


def test_one_forward_pass_serves_all_tokens(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encode = type(case.model).encode
    monkeypatch.setattr(
        type(case.model), "encode", lambda *a: (calls.append(len(a[1])), encode(*a))[1]
    )
    gradients.saliency(case, space="input", target="logit")
    assert calls == [1]


@pytest.mark.parametrize("space", SPACES)
def test_the_number_of_tokens_per_pass_changes_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch, space: Any
) -> None:
    together = gradients.saliency(case, space=space, target="logit")
    monkeypatch.setattr(attention_gradients, "_BUDGET", 1)
    check(gradients.saliency(case, space=space, target="logit"), together, 1e-4)


@pytest.mark.parametrize("space", SPACES)
def test_the_number_of_tokens_per_deeplift_pass_changes_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch, space: Any
) -> None:
    passes = []
    explain = captum.attr.DeepLift.attribute
    monkeypatch.setattr(
        captum.attr.DeepLift,
        "attribute",
        lambda self, point, *a, **k: (passes.append(len(point)), explain(self, point, *a, **k))[1],
    )
    together = gradients.deeplift(case, space=space, target="logit", baseline="zero")
    assert passes == [len(case.hypothesis.tokens)]
    monkeypatch.setattr(gradients, "_BUDGET", 1)
    check(gradients.deeplift(case, space=space, target="logit", baseline="zero"), together, 1e-4)
    assert passes[1:] == [1] * passes[0]


def test_an_input_of_many_positions_is_explained_token_by_token(case: Case) -> None:
    """Whisper-base hears 1,500 positions in 6 layers of 8 heads: 1.3 GB a copy."""
    info = replace(case.model.info, encoder_layers=6, decoder_layers=6, heads=8)
    assert gradients._copies(info, 20, 1_500, "input") == 1
    assert gradients._copies(info, 20, 1_500, "encoder") == 8
    assert gradients._copies(info, 448, 1_500, "encoder") == 2


def test_the_model_keeps_its_weights_and_needs_no_gradients(case: Case) -> None:
    network = case.model.network  # type: ignore[attr-defined]
    before = {name: p.clone() for name, p in network.named_parameters()}
    gradients.saliency(case, space="input", target="logit")
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])
        assert not parameter.requires_grad
        assert parameter.grad is None


def test_padding_is_not_explained(easy: Case) -> None:
    values = gradients.input_x_gradient(easy, space="input", target="logit")
    assert values.shape == (3, easy.features.melframes, 12)
    assert easy.features.melframes < len(easy.features.values)


# -- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("baseline", ["channel-mean", "zero"])
@pytest.mark.parametrize("target", TARGETS)
def test_integrated_gradients_are_complete(
    case: Case, space: Any, baseline: str, target: str
) -> None:
    values = gradients.integrated_gradients(
        case, space=space, target=target, baseline=baseline, steps=64
    )
    scores = Scores.of(case, space, target)
    ends = scores.evaluate(torch.stack([scores.point, scores.baseline(baseline)]))
    difference = ends[0] - ends[1]
    torch.testing.assert_close(values.flatten(1).sum(1), difference, rtol=0.02, atol=0.02)
    assert difference.abs().max() > 0.2
    delta = gradients.convergence_delta(scores, values, baseline)
    torch.testing.assert_close(delta, values.flatten(1).sum(1) - difference)


@pytest.mark.parametrize("space", SPACES)
def test_integrated_gradients_agree_with_captum_token_by_token(case: Case, space: Any) -> None:
    scores = Scores.of(case, space, "logit")
    plain = captum.attr.IntegratedGradients(scores)
    rows = [
        plain.attribute(
            scores.point[None].clone().requires_grad_(),
            baselines=scores.baseline("zero")[None],
            target=token,
            n_steps=7,
        )[0]
        for token in range(len(case.hypothesis.tokens))
    ]
    expected = torch.stack(rows).detach()
    found = gradients.integrated_gradients(
        case, space=space, target="logit", baseline="zero", steps=7
    )
    check(found, expected if space == "input" else expected.sum(-1))


def test_smoothgrad_without_noise_is_saliency(case: Case) -> None:
    found = gradients.smoothgrad(
        case, space="encoder", target="logit", samples=3, noise=0.0, seed=0
    )
    check(found, gradients.saliency(case, space="encoder", target="logit"))


@pytest.mark.parametrize("space", SPACES)
def test_smoothgrad_is_the_mean_gradient_of_noisy_inputs(case: Case, space: Any) -> None:
    scores = Scores.of(case, space, "logit")
    deviation = 0.2 * float(scores.point.max() - scores.point.min())
    total = torch.zeros(())
    with seeded(5, case):
        for _ in range(3):
            noise = torch.normal(0, torch.full_like(scores.point[None, None], deviation))[0, 0]
            total = total + per_token(case, space, "logit", scores.point + noise)
    expected = total / 3
    found = gradients.smoothgrad(case, space=space, target="logit", samples=3, noise=0.2, seed=5)
    check(found, expected.abs() if space == "input" else expected.norm(dim=-1))


def test_gradient_shap_of_a_linear_model_by_hand(easy: Case) -> None:
    # A linear model has one gradient: without noise x - x0 times it, whatever the random point.
    found = gradients.gradient_shap(
        easy, space="input", target="logit", baseline="zero", samples=4, noise=0.0, seed=1
    )
    torch.testing.assert_close(
        found, gradients.input_x_gradient(easy, space="input", target="logit")
    )
    assert found.sum((1, 2)).tolist() == pytest.approx([6, 6, 6])


def test_gradient_shap_tends_to_integrated_gradients(case: Case) -> None:
    options: Any = {"space": "encoder", "target": "logit", "baseline": "zero"}
    sampled = gradients.gradient_shap(case, **options, samples=400, noise=0.0, seed=0)
    exact = gradients.integrated_gradients(case, **options, steps=64)
    for a, b in zip(sampled, exact, strict=True):
        assert np.corrcoef(a, b)[0, 1] > 0.97
        assert (a - b).abs().max() < 0.15 * b.abs().max()


@pytest.mark.parametrize("method", ["smoothgrad", "gradient_shap"])
def test_the_seed_decides_and_global_generators_stay(case: Case, method: str) -> None:
    options: dict[str, Any] = {"space": "encoder", "target": "logit", "samples": 2, "noise": 0.1}
    if method == "gradient_shap":
        options["baseline"] = "zero"
    explain = getattr(gradients, method)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    first = explain(case, seed=1, **options)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert str(np.random.get_state(legacy=False)) == str(numpy_state)
    torch.rand(3)
    assert torch.equal(explain(case, seed=1, **options), first)
    assert not torch.allclose(explain(case, seed=2, **options), first)


# -- DeepLIFT -------------------------------------------------------------------------------------


class Gate(nn.Module):
    """x -> activation(3 x - 1), whose rescale multiplier is known."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, states: Tensor) -> Tensor:
        return self.activation(3 * states - 1)


@dataclass(frozen=True)
class Gated(Planted):
    """The planted model behind an activation."""

    network: Any = field(default_factory=lambda: Gate(nn.ReLU()))

    def encode(self, values: Tensor) -> Tensor:
        return super().encode(self.network(values))


def gelu() -> nn.Module:
    from transformers.activations import GELUActivation

    return GELUActivation()


@pytest.mark.parametrize("activation", [nn.ReLU, gelu])
def test_deeplift_follows_the_rescale_rule(
    case_of: Callable[..., Case], activation: Callable[[], nn.Module]
) -> None:
    model = Gated(network=Gate(activation()))
    easy = case_of(model)
    found = gradients.deeplift(easy, space="input", target="logit", baseline="zero")
    # Loud cells go from 0 to 1: their contribution is the change of the activation, times 6 / 16.
    change = model.network(torch.tensor(1.0)) - model.network(torch.tensor(0.0))
    expected = torch.zeros(3, 24, 12)
    for token, frames in enumerate(model.frames):
        expected[token, 2 * frames[0] : 2 * frames[1] + 2, 4:8] = change * 6 / 16
    torch.testing.assert_close(found, expected)
    plain = gradients.input_x_gradient(easy, space="input", target="logit")
    assert not torch.allclose(found, plain), "the gradient alone would do"


def test_deeplift_is_complete_where_all_nonlinear_modules_have_rules(
    case_of: Callable[..., Case],
) -> None:
    easy = case_of(Gated())
    scores = Scores.of(easy, "input", "logit")
    found = gradients.deeplift(easy, space="input", target="logit", baseline="channel-mean")
    delta = gradients.convergence_delta(scores, found, "channel-mean")
    torch.testing.assert_close(delta, torch.zeros(3), atol=1e-5, rtol=0)


def test_deeplift_leaves_captums_rules_and_the_modules_as_they_were(case: Case) -> None:
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR

    before = dict(SUPPORTED_NON_LINEAR)
    modules = list(case.model.network.modules())  # type: ignore[attr-defined]
    attributes = [sorted(vars(module)) for module in modules]
    gradients.deeplift(case, space="encoder", target="logit", baseline="zero")
    assert before == SUPPORTED_NON_LINEAR
    assert not [kind for kind in SUPPORTED_NON_LINEAR if kind.__module__.startswith("transformers")]
    assert [sorted(vars(module)) for module in modules] == attributes


def test_deeplift_without_modules_is_unsupported(easy: Case) -> None:
    with pytest.raises(Unsupported, match="modules of family 'planted'"):
        gradients.deeplift(easy, space="input", target="logit", baseline="zero")


# -- the catalogue --------------------------------------------------------------------------------


def test_every_method_of_two_spaces_has_both_and_says_which() -> None:
    names = registry.methods.names()
    for name in names:
        description = registry.methods.get(name)
        if "gradient_catalogue" not in registry.methods.entry(name).target:
            continue
        if f"{name}-encoder" in names:
            other = registry.methods.get(f"{name}-encoder")
            assert (description.space, other.space) == ("input", "encoder")
            assert (description.signed, description.kind) == (other.signed, other.kind)
        if description.kind == "gradient":
            assert description.uses_gradients
            assert "target" in {p.name for p in description.parameters}


def test_gradients_exist_in_bfloat16(
    tiny_whisper_folder: Any, case_of: Callable[..., Case], clip: Callable[..., Any], case: Case
) -> None:
    from xbench.models.loading import load_model

    coarse = load_model(f"whisper:{tiny_whisper_folder}", device="cpu", precision="bfloat16")
    rough = case_of(coarse, clip(1.3, 3))
    rough = Case(rough.model, rough.features, case.hypothesis, "clip")
    found = gradients.saliency(rough, space="input", target="logit")
    exact = gradients.saliency(case, space="input", target="logit")
    assert np.corrcoef(found.flatten(), exact.flatten())[0, 1] > 0.9
