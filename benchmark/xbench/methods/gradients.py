"""Gradient methods on the spectrogram (space `input`) and on the encoder output (space `encoder`).

    saliency              | df_i/dx |
    input-x-gradient      x * df_i/dx
    integrated-gradients  (x - x0) * mean over a in [0, 1] of df_i/dx at x0 + a (x - x0)     (Gauss-Legendre)
    smoothgrad            | mean over e of df_i/dx at x + e |             e ~ N(0, (noise * range of x)^2)
    gradient-shap         mean over a, e of (x + e - x0) * df_i/dx at x0 + a (x + e - x0)    a ~ U(0, 1)
    deeplift              (x - x0) * multipliers of the rescale rule                         (experimental)

On the encoder output, unsigned maps take the Euclidean norm over channels, signed ones their sum.

Through captum, whose gradient function is replaced by one that shares work: the input has a token axis of
length 1, its gradients one of length I, and captum's arithmetic broadcasts. A step or sample is then
one forward pass for all tokens, noise and baselines are the same for all tokens, and backward passes
are batched over tokens. DeepLIFT works by hooks on one backward pass per copy, so there each token is a copy.

Sources: Simonyan et al. 2014; Shrikumar et al. 2016, 2017; Sundararajan et al. 2017; Smilkov et al. 2017;
Lundberg and Lee 2017, Erion et al. 2021; captum (BSD-3).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from captum.attr import (
    DeepLift,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
)

# Private: captum says only there which classes of modules are activations, and by which rule.
from captum.attr._core import deep_lift
from jaxtyping import Float
from torch import Tensor, nn

from xbench.case import Case
from xbench.errors import Unsupported
from xbench.hiding.cells import Space
from xbench.methods.target import Scores, in_both_spaces, seeded
from xbench.models.attention_gradients import differentiable_attention
from xbench.models.optional import ShowsNetwork, offers
from xbench.models.private import is_activation
from xbench.models.protocol import ModelInfo

Map = Float[Tensor, "token frame"] | Float[Tensor, "token melframe mel"]

_COPIES = 8  # tokens of one DeepLIFT pass, at most
_BUDGET = 2 * 2**30  # bytes of attention that one may hold
_LIVE = 3  # tensors of the size of all weights of one block that wait for the backward pass


def saliency(case: Case, *, space: Space, target: str) -> Map:
    """Return the absolute gradient."""
    scores = Scores.of(case, space, target)
    method = _sharing(Saliency(scores))
    return _magnitude(scores, method.attribute(_point(scores), abs=False)[0])


def input_x_gradient(case: Case, *, space: Space, target: str) -> Map:
    """Return input times gradient."""
    scores = Scores.of(case, space, target)
    method = _sharing(InputXGradient(scores))
    return scores.to_map(method.attribute(_point(scores))[0].detach())


def integrated_gradients(
    case: Case, *, space: Space, target: str, baseline: str, steps: int
) -> Map:
    """Return the path integral of gradients from the baseline; sums to f(x) - f(x0)."""
    scores = Scores.of(case, space, target)
    method = _sharing(IntegratedGradients(scores))
    attributions = method.attribute(
        _point(scores),
        baselines=scores.baseline(baseline)[None, None],
        n_steps=steps,
        internal_batch_size=1,
    )
    return scores.to_map(attributions[0].detach())


def smoothgrad(
    case: Case, *, space: Space, target: str, samples: int, noise: float, seed: int
) -> Map:
    """Return the magnitude of the mean gradient under Gaussian noise."""
    scores = Scores.of(case, space, target)
    method = NoiseTunnel(_sharing(Saliency(scores)))
    with seeded(seed, case):
        attributions = method.attribute(
            _point(scores),
            nt_type="smoothgrad",
            nt_samples=samples,
            nt_samples_batch_size=1,
            stdevs=noise * _range(scores),
            abs=False,
        )
    return _magnitude(scores, attributions[0])


def gradient_shap(
    case: Case,
    *,
    space: Space,
    target: str,
    baseline: str,
    samples: int,
    noise: float,
    seed: int,
) -> Map:
    """Return the expected gradient times difference at random points between baseline and noisy input."""
    scores = Scores.of(case, space, target)
    total = torch.zeros(())
    with seeded(seed, case):
        for _ in range(samples):
            # One sample a call: captum would hold the gradients of all samples at once.
            method = _sharing(GradientShap(scores))
            total = total + method.attribute(
                _point(scores),
                baselines=scores.baseline(baseline)[None, None],
                n_samples=1,
                stdevs=noise * _range(scores),
            )
    return scores.to_map(total[0].detach() / samples)


def deeplift(case: Case, *, space: Space, target: str, baseline: str) -> Map:
    """Return DeepLIFT contributions (rescale rule) of the modules captum can hook."""
    scores = Scores.of(case, space, target)
    if not offers(case.model, ShowsNetwork) or not isinstance(case.model.network, nn.Module):
        raise Unsupported(f"the modules of family '{case.model.info.family}' cannot be reached")
    network = case.model.network
    method = DeepLift(_Hooked(network, scores))
    neutral = scores.baseline(baseline)[None]
    parts = []
    rows = torch.arange(len(case.hypothesis.tokens), device=neutral.device)
    copies = _copies(case.model.info, len(rows), scores.sources, space)
    with _rescaled_activations(network), differentiable_attention(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Setting forward, backward hooks")
        for tokens in rows.split(copies):
            point = scores.point.repeat(len(tokens), 1, 1).requires_grad_()
            try:
                attributions = method.attribute(point, neutral.expand_as(point), target=tokens)
            except RuntimeError as problem:
                if "used only once" not in str(problem):
                    raise
                raise Unsupported(
                    "one activation module of its network stands in several places, and DeepLIFT's rule holds for a "
                    "module that stands in one"
                ) from None
            parts.append(attributions.detach())
    return scores.to_map(torch.cat(parts))


def _copies(info: ModelInfo, tokens: int, sources: int, space: Space) -> int:
    """Return how many tokens a DeepLIFT pass may carry: it holds all attention of each, and of its baseline.

    On the spectrogram and 1,500 encoder positions that is gigabytes a token.
    """
    weights = info.decoder_layers * tokens * (tokens + sources)
    if space == "input":
        weights += info.encoder_layers * sources**2
    per_token = 2 * 4 * _LIVE * info.heads * weights
    return max(1, min(_COPIES, _BUDGET // per_token))


def convergence_delta(scores: Scores, values: Map, baseline: str) -> Float[Tensor, " token"]:
    """Return sum of the map - (f(x) - f(x0)): 0 for a method that is complete."""
    ends = scores.evaluate(torch.stack([scores.point, scores.baseline(baseline)]))
    return values.flatten(1).sum(1) - (ends[0] - ends[1])


def _point(scores: Scores) -> Float[Tensor, "1 1 position channel"]:
    # Captum warns of inputs that do not require gradients.
    return scores.point[None, None].clone().requires_grad_()


def _range(scores: Scores) -> float:
    return float(scores.point.max() - scores.point.min())


def _magnitude(scores: Scores, gradients: Float[Tensor, "token position channel"]) -> Map:
    if scores.space == "input":
        return gradients.detach().abs()
    return gradients.detach().norm(dim=-1)


def _sharing(method: Any) -> Any:
    """Let a captum method compute the gradients of all tokens from one forward pass per point."""
    method.gradient_func = _all_tokens
    return method


def _all_tokens(
    forward_fn: Scores,
    inputs: tuple[Float[Tensor, "point 1 position channel"], ...],
    target_ind: None = None,
    additional_forward_args: None = None,
) -> tuple[Float[Tensor, "point token position channel"], ...]:
    return (torch.stack([forward_fn.gradients(point[0]) for point in inputs[0]]),)


class _Hooked(nn.Module):  # type: ignore[misc]  # torch is not followed
    """The scores as a module that contains the network, as captum's DeepLIFT wants it."""

    def __init__(self, network: nn.Module, scores: Scores) -> None:
        super().__init__()
        self.network = network
        self.scores = scores

    def forward(
        self, cells: Float[Tensor, "batch position channel"]
    ) -> Float[Tensor, "batch token"]:
        return self.scores(cells)


@contextmanager
def _rescaled_activations(network: nn.Module) -> Iterator[None]:
    """Apply captum's rescale rule to the activation modules of transformers too, which it does not know."""
    rules = deep_lift.SUPPORTED_NON_LINEAR
    unknown = {
        type(module)
        for module in network.modules()
        if is_activation(module) and type(module) not in rules
    }
    rules.update(dict.fromkeys(unknown, deep_lift.nonlinear))
    try:
        yield
    finally:
        for kind in unknown:
            del rules[kind]


saliency_input, saliency_encoder = in_both_spaces(saliency)
input_x_gradient_input, input_x_gradient_encoder = in_both_spaces(input_x_gradient)
integrated_gradients_input, integrated_gradients_encoder = in_both_spaces(integrated_gradients)
smoothgrad_input, smoothgrad_encoder = in_both_spaces(smoothgrad)
gradient_shap_input, gradient_shap_encoder = in_both_spaces(gradient_shap)
deeplift_input, deeplift_encoder = in_both_spaces(deeplift)
