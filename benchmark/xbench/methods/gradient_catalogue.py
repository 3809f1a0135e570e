"""Descriptions of the gradient and perturbation methods (torch-free).

A method of the saliency or perturbation family exists twice, because the space of a map belongs to the
method: `saliency` explains the spectrogram, `saliency-encoder` the encoder output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xbench.description import MethodDescription, Parameter

_BACKWARD = "I backward, batched over tokens"
_CHEFER = "Chefer, Gur and Wolf, ICCV 2021, arXiv 2103.15679"

_TARGET = Parameter(
    "target",
    "str",
    "what is explained: the token's log-probability or its logit",
    default="log-probability",
    choices=("log-probability", "logit"),
)
_LAYERS = Parameter("layers", "indices", "decoder layers, from 0, such as 0+2", default="all")
_SEED = Parameter("seed", "int", "seed of the draw", default=0, minimum=0)
_NOISE = "standard deviation of the noise as a share of the range of the input's values"
_FIXED = "the padding after the audio, which stays as it is"
_DECODER_ONLY = (
    "everything before the encoder output, and its padding frames, which stay as they are"
)
# Version 2 of what hides cells: log-probabilities close to 0 are no longer rounded to ties (`hiding.effect`).
_FINER = "2"

_BASELINES = {"input": ("channel-mean", "zero", "minimum"), "encoder": ("zero", "channel-mean")}


# -- attention with gradients ---------------------------------------------------------------------

_ATTENTION: dict[str, Any] = {
    "version": "1",
    "kind": "gradient",
    "distribution": False,
    "uses_gradients": True,
    "takes": "case",
}

GRAD_ATTENTION = MethodDescription(
    name="grad-attention",
    summary="positive part of cross-attention times its gradient, mean over heads and layers",
    source=f"{_CHEFER}; Barkan et al. 2021",
    implementation="xbench.methods.gradient_attention:grad_attention",
    parameters=(_LAYERS, _TARGET),
    cost=f"1 forward, {_BACKWARD} (decoder only)",
    ignores="everything before the encoder output",
    **_ATTENTION,
)
ATTENTION_GRADCAM = MethodDescription(
    name="attention-gradcam",
    summary="cross-attention with heads weighted by their mean gradient, clamped at zero",
    source=f"{_CHEFER} (baseline); Selvaraju et al. 2017",
    implementation="xbench.methods.gradient_attention:attention_gradcam",
    parameters=(_LAYERS, _TARGET),
    cost=f"1 forward, {_BACKWARD} (decoder only)",
    ignores="everything before the encoder output",
    **_ATTENTION,
)
CHEFER = MethodDescription(
    name="chefer",
    summary="attention times gradient of all blocks, composed by the encoder-decoder rules",
    source=f"{_CHEFER}, equations 5-10",
    implementation="xbench.methods.gradient_attention:chefer",
    parameters=(_TARGET,),
    cost=f"1 forward, {_BACKWARD}",
    ignores="mixing by input convolutions, values, feed-forward layers and normalisations",
    **_ATTENTION,
)


# -- gradients and perturbations, in two spaces ---------------------------------------------------


@dataclass(frozen=True)
class _Family:
    """What the two methods of one name share; parameters may differ in default and choices."""

    name: str
    summary: str
    source: str
    module: str
    kind: Any
    signed: bool
    cost: str
    own: tuple[Parameter, ...]
    baseline: bool = True
    bands: int | None = None
    complete: bool = False
    version: str = "1"

    def on(self, space: Any, *more: Parameter) -> MethodDescription:
        where = "the spectrogram" if space == "input" else "the encoder output"
        parameters = [_TARGET]
        if self.baseline:
            choices = _BASELINES[space]
            parameters.append(
                Parameter(
                    "baseline",
                    "str",
                    "value of a cell that is not heard, per channel",
                    default=choices[0],
                    choices=choices,
                )
            )
        if self.bands is not None and space == "input":
            parameters.append(
                Parameter("bands", "int", "bands of mel channels", default=self.bands, minimum=1)
            )
        return MethodDescription(
            name=self.name if space == "input" else f"{self.name}-encoder",
            version=self.version,
            summary=f"{self.summary}, on {where}",
            source=self.source,
            implementation=f"xbench.methods.{self.module}:{self.name.replace('-', '_')}_{space}",
            parameters=(*parameters, *more, *self.own),
            kind=self.kind,
            space=space,
            signed=self.signed,
            distribution=False,
            uses_gradients=self.kind == "gradient",
            takes="case",
            complete=self.complete,
            cost=self.cost if space == "input" else f"{self.cost} (decoder only)",
            ignores=_FIXED if space == "input" else _DECODER_ONLY,
        )


def _count(name: str, meaning: str, default: int, minimum: int = 1) -> Parameter:
    return Parameter(name, "int", meaning, default=default, minimum=minimum)


def _share(name: str, meaning: str, default: float, maximum: float | None = None) -> Parameter:
    return Parameter(name, "float", meaning, default=default, minimum=0, maximum=maximum)


_SALIENCY = _Family(
    "saliency",
    "magnitude of the gradient",
    "Simonyan et al. 2014, arXiv 1312.6034; captum",
    "gradients",
    "gradient",
    False,
    f"1 forward, {_BACKWARD}",
    (),
    baseline=False,
)
SALIENCY, SALIENCY_ENCODER = _SALIENCY.on("input"), _SALIENCY.on("encoder")

_INPUT_X_GRADIENT = _Family(
    "input-x-gradient",
    "input times gradient",
    "Shrikumar et al. 2016, arXiv 1605.01713; captum",
    "gradients",
    "gradient",
    True,
    f"1 forward, {_BACKWARD}",
    (),
    baseline=False,
)
INPUT_X_GRADIENT = _INPUT_X_GRADIENT.on("input")
INPUT_X_GRADIENT_ENCODER = _INPUT_X_GRADIENT.on("encoder")

_INTEGRATED_GRADIENTS = _Family(
    "integrated-gradients",
    "gradients integrated along the straight path from a baseline",
    "Sundararajan et al. 2017, arXiv 1703.01365; captum",
    "gradients",
    "gradient",
    True,
    f"`steps` forward, `steps` x {_BACKWARD}",
    (_count("steps", "Gauss-Legendre nodes on the path", 50),),
    complete=True,
)
INTEGRATED_GRADIENTS = _INTEGRATED_GRADIENTS.on("input")
INTEGRATED_GRADIENTS_ENCODER = _INTEGRATED_GRADIENTS.on("encoder")

_SMOOTHGRAD = _Family(
    "smoothgrad",
    "magnitude of the mean gradient under Gaussian noise",
    "Smilkov et al. 2017, arXiv 1706.03825; captum",
    "gradients",
    "gradient",
    False,
    f"`samples` forward, `samples` x {_BACKWARD}",
    (_count("samples", "noisy inputs", 20), _share("noise", _NOISE, 0.1), _SEED),
    baseline=False,
)
SMOOTHGRAD, SMOOTHGRAD_ENCODER = _SMOOTHGRAD.on("input"), _SMOOTHGRAD.on("encoder")

_GRADIENT_SHAP = _Family(
    "gradient-shap",
    "expected gradients at random points between a baseline and the noisy input",
    "Lundberg and Lee 2017, arXiv 1705.07874; Erion et al. 2021; captum",
    "gradients",
    "gradient",
    True,
    f"`samples` forward, `samples` x {_BACKWARD}",
    (_count("samples", "random points", 20), _share("noise", _NOISE, 0.05), _SEED),
)
GRADIENT_SHAP, GRADIENT_SHAP_ENCODER = _GRADIENT_SHAP.on("input"), _GRADIENT_SHAP.on("encoder")

_DEEPLIFT = _Family(
    "deeplift",
    "DeepLIFT contributions by the rescale rule (experimental: only activation modules have rules)",
    "Shrikumar et al. 2017, arXiv 1704.02685; captum",
    "gradients",
    "gradient",
    True,
    "2 I forward, 2 I backward",
    (),
    complete=True,
)
DEEPLIFT, DEEPLIFT_ENCODER = _DEEPLIFT.on("input"), _DEEPLIFT.on("encoder")

_OCCLUSION = _Family(
    "occlusion",
    "loss of score when a sliding window is replaced",
    "Zeiler and Fergus 2014, arXiv 1311.2901; captum",
    "perturbation",
    "perturbation",
    True,
    "1 forward per window and band",
    (),
    bands=4,
    version=_FINER,
)
OCCLUSION = _OCCLUSION.on(
    "input",
    _count("window", "spectrogram frames of the window", 16),
    _count("step", "spectrogram frames between windows", 8),
)
OCCLUSION_ENCODER = _OCCLUSION.on(
    "encoder",
    _count("window", "encoder frames of the window", 4),
    _count("step", "encoder frames between windows", 2),
)

_FEATURE_ABLATION = _Family(
    "feature-ablation",
    "loss of score when one group of cells is replaced",
    "captum",
    "perturbation",
    "perturbation",
    True,
    "1 forward per group",
    (_count("segments", "equal parts of time (at most one per frame)", 50),),
    bands=4,
    version=_FINER,
)
FEATURE_ABLATION = _FEATURE_ABLATION.on("input")
FEATURE_ABLATION_ENCODER = _FEATURE_ABLATION.on("encoder")

_LIME = _Family(
    "lime",
    "sparse linear model of the score on groups of cells switched on and off",
    "Ribeiro et al. 2016, arXiv 1602.04938; captum",
    "perturbation",
    "perturbation",
    True,
    "`samples` forward",
    (
        _count("segments", "equal parts of time (at most one per frame)", 25),
        _count("samples", "random settings", 300, 2),
        _share("penalty", "L1 penalty of the lasso", 0.001),
        _SEED,
    ),
    bands=1,
    version=_FINER,
)
LIME, LIME_ENCODER = _LIME.on("input"), _LIME.on("encoder")

_KERNEL_SHAP = _Family(
    "kernel-shap",
    "Shapley values of groups of cells, by weighted least squares",
    "Lundberg and Lee 2017, arXiv 1705.07874; captum",
    "perturbation",
    "perturbation",
    True,
    "`samples` forward",
    (
        _count("segments", "equal parts of time (at most one per frame)", 25),
        _count("samples", "random settings, the two ends included", 300, 4),
        _SEED,
    ),
    bands=1,
    version=_FINER,
)
KERNEL_SHAP, KERNEL_SHAP_ENCODER = _KERNEL_SHAP.on("input"), _KERNEL_SHAP.on("encoder")

_RISE = _Family(
    "rise",
    "mean score under smooth random masks that keep a cell, above the mean of all masks",
    "Petsiuk et al. 2018, arXiv 1806.07421",
    "perturbation",
    "perturbation",
    True,
    "`samples` forward",
    (
        _count("samples", "random masks", 1000, 2),
        _share("p", "probability that a grid cell is kept", 0.5, 1),
        _SEED,
    ),
    bands=4,
    version=_FINER,
)
RISE = _RISE.on("input", _count("cell", "spectrogram frames of a grid cell", 16))
RISE_ENCODER = _RISE.on("encoder", _count("cell", "encoder frames of a grid cell", 8))


# -- the reference's estimator as a contender -----------------------------------------------------

_SPES_SOURCE = "Fucci et al. 2024, arXiv 2411.01710; Papi et al. 2025, arXiv 2509.18010, section 3"
_MASKS = _count("masks", "number of random masks, none of them the reference's", 2000, 6)

SPES = MethodDescription(
    name="spes",
    version="1",
    summary="the reference's own estimator on the spectrogram, with masks that no reference uses",
    source=_SPES_SOURCE,
    implementation="xbench.references.contender:spes_input",
    parameters=(
        _MASKS,
        _share("p", "probability that a segment is hidden", 0.5, 1),
        Parameter(
            "rates",
            "str",
            "SLIC segments per second, one per level, joined by '+'",
            default="400+500+600",
        ),
        _share("compactness", "SLIC compactness", 0.1),
        _share("sigma", "SLIC smoothing", 0.0),
        Parameter(
            "cap_seconds",
            "float",
            "longer clips get no more segments than this many seconds",
            default=7.5,
            minimum=0.1,
        ),
        _SEED,
    ),
    kind="perturbation",
    space="input",
    distribution=False,
    takes="case",
    cost="`masks` forward",
    ignores=_FIXED,
    estimates="spes-input",
)
SPES_ENCODER = MethodDescription(
    name="spes-encoder",
    version="1",
    summary="the reference's own estimator on the encoder output, with masks that no reference uses",
    source=_SPES_SOURCE,
    implementation="xbench.references.contender:spes_encoder",
    parameters=(_MASKS, _share("p", "probability that a frame is zeroed", 0.7, 1), _SEED),
    kind="perturbation",
    space="encoder",
    distribution=False,
    takes="case",
    cost="`masks` forward (decoder only)",
    ignores=_DECODER_ONLY,
    estimates="spes-encoder",
)
