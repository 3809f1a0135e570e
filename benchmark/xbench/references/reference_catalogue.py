"""Descriptions of the built-in references (torch-free)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xbench.description import Parameter, ReferenceDescription

_PAPI = "Papi et al. 2025, arXiv 2509.18010, section 3"


def _probability(that: str, default: float) -> Parameter:
    return Parameter(
        "p", "float", f"probability that {that}", default=default, minimum=0, maximum=1
    )


# 2 halves of at least one mask on each of three levels.
_MASKS = Parameter(
    "masks",
    "int",
    "number of random masks; with `until` the most that are drawn",
    required=True,
    minimum=6,
)
_ESTIMATOR = Parameter(
    "estimator",
    "str",
    "how divergences become relevance; all estimate the same quantity",
    default="masked-mean",
    choices=("masked-mean", "least-squares", "control-variate"),
)
_ESTIMATION = (
    Parameter(
        "design",
        "str",
        "masks drawn independently, or in mirrored (antithetic) pairs",
        default="independent",
        choices=("independent", "antithetic"),
    ),
    Parameter(
        "until",
        "float",
        "stop an utterance where the estimated reliability of the map as used reaches this",
        minimum=0.01,
        maximum=0.999,
    ),
)
_FRAME_PARAMETERS = (
    _MASKS,
    _probability("a frame is zeroed", 0.7),
    # Windows are runs of neighbours: frames have them, superpixels do not.
    replace(_ESTIMATOR, choices=(*_ESTIMATOR.choices, "window-control-variate")),
    *_ESTIMATION,
)
_PRECISION = Parameter(
    "precision",
    "str",
    "of perturbed passes; auto: the fastest of this device whose rounding, tried on the utterance, follows no mask",
    default="auto",
    choices=("auto", "float32", "tf32", "bfloat16", "float16"),
)

# Other estimators refuse a handful of masks, and take no longer per pass.
_BY_MASKS: Any = {"bound": "masks", "trial": {"estimator": "masked-mean"}}

SPES_ENCODER = ReferenceDescription(
    name="spes-encoder",
    version="3",
    summary="mean output divergence when encoder frames are zeroed at random",
    source=_PAPI,
    implementation="xbench.references.spes:spes_encoder",
    parameters=(*_FRAME_PARAMETERS, _PRECISION),
    space="encoder",
    estimator="masked-mean",
    **_BY_MASKS,
)
SPES_AUDIO = ReferenceDescription(
    name="spes-audio",
    version="1",
    summary="mean output divergence when audio positions of a decoder-only model are hidden at random",
    source=f"the masks and the effect of {_PAPI}; the neutral values: ours",
    implementation="xbench.references.audio:spes_audio",
    parameters=(
        *_FRAME_PARAMETERS,
        Parameter(
            "neutral",
            "str",
            "what a hidden position is: zeros, the mean of all audio positions, or a position that none reads",
            default="zero",
            choices=("zero", "mean", "key-removed"),
        ),
        _PRECISION,
    ),
    space="encoder",
    estimator="masked-mean",
    kinds=("audio-prefix",),
    **_BY_MASKS,
)
SPES_ENCODER_REMOVED = ReferenceDescription(
    name="spes-encoder-removed",
    version="1",
    summary="mean output divergence when the keys of encoder frames are taken out of the cross-attention at random",
    source=f"the masks and the effect of {_PAPI}; removing in the place of zeroing: ours",
    implementation="xbench.references.spes:spes_encoder_removed",
    parameters=(
        _MASKS,
        _probability("a frame is removed", 0.7),
        *_FRAME_PARAMETERS[2:],
        _PRECISION,
    ),
    space="encoder",
    estimator="masked-mean",
    **_BY_MASKS,
)
SPES_ENCODER_DROP = ReferenceDescription(
    name="spes-encoder-drop",
    version="1",
    summary="mean fall of the token's probability when encoder frames are zeroed at random",
    source=f"the masks of {_PAPI}; the effect of Petsiuk et al. 2018, arXiv 1806.07421",
    implementation="xbench.references.drop:spes_encoder_drop",
    parameters=_FRAME_PARAMETERS,
    space="encoder",
    estimator="masked-mean",
    **_BY_MASKS,
)
_CONTRAST = Parameter(
    "contrast",
    "str",
    "difference of the falls of both probabilities, or fall of the token's share of the two",
    default="relative",
    choices=("difference", "relative"),
)
_CONTI = (
    f"the masks of {_PAPI}; the effect of Conti et al. 2025, arXiv 2509.26543, with another foil"
)
SPES_ENCODER_CONTRAST = ReferenceDescription(
    name="spes-encoder-contrast",
    version="1",
    summary="mean loss of the token against the most likely other token when encoder frames are zeroed at random",
    source=_CONTI,
    implementation="xbench.references.contrast:spes_encoder_contrast",
    parameters=(*_FRAME_PARAMETERS, _CONTRAST),
    space="encoder",
    estimator="masked-mean",
    **_BY_MASKS,
)
_SUPERPIXELS = (
    _probability("a segment is hidden", 0.5),
    Parameter(
        "rates",
        "str",
        "SLIC segments per second, one per level, joined by '+'",
        default="400+500+600",
    ),
    Parameter("compactness", "float", "SLIC compactness", default=0.1, minimum=0),
    Parameter("sigma", "float", "SLIC smoothing", default=0.0, minimum=0),
    Parameter(
        "cap_seconds",
        "float",
        "longer clips get no more segments than this many seconds",
        default=7.5,
        minimum=0.1,
    ),
)
SPES_INPUT_CONTRAST = ReferenceDescription(
    name="spes-input-contrast",
    version="1",
    summary="mean loss of the token against the most likely other token when superpixels are hidden at random",
    source=_CONTI,
    implementation="xbench.references.contrast:spes_input_contrast",
    parameters=(_MASKS, *_SUPERPIXELS, _ESTIMATOR, *_ESTIMATION, _CONTRAST),
    space="input",
    estimator="masked-mean",
    **_BY_MASKS,
)
SPES_INPUT = ReferenceDescription(
    name="spes-input",
    version="3",
    summary="mean output divergence when spectrogram superpixels are hidden at random (SPES)",
    source=f"Fucci et al. 2024, arXiv 2411.01710; {_PAPI}",
    implementation="xbench.references.spes:spes_input",
    parameters=(
        _MASKS,
        *_SUPERPIXELS,
        _ESTIMATOR,
        *_ESTIMATION,
        _PRECISION,
        Parameter(
            "padding",
            "str",
            "frozen: keep the padding of a fixed window as in the clean pass, where a check passes",
            default="exact",
            choices=("exact", "frozen"),
        ),
    ),
    space="input",
    estimator="masked-mean",
    **_BY_MASKS,
)
_OF_WORDS = (_ESTIMATOR, *_ESTIMATION, _PRECISION)
_WORDS = f"the effect of {_PAPI}; words in the place of frames and superpixels: ours"
SPES_ENCODER_WORDS = ReferenceDescription(
    name="spes-encoder-words",
    version="1",
    summary="mean output divergence when the encoder frames of whole words are zeroed at random",
    source=_WORDS,
    implementation="xbench.references.words:spes_encoder_words",
    parameters=(_MASKS, _probability("a word is zeroed", 0.7), *_OF_WORDS),
    space="encoder",
    estimator="masked-mean",
    needs=frozenset({"words"}),
    **_BY_MASKS,
)
SPES_INPUT_WORDS = ReferenceDescription(
    name="spes-input-words",
    version="1",
    summary="mean output divergence when the spectrogram of whole words is hidden at random",
    source=_WORDS,
    implementation="xbench.references.words:spes_input_words",
    parameters=(_MASKS, _probability("a word is hidden", 0.5), *_OF_WORDS),
    space="input",
    estimator="masked-mean",
    needs=frozenset({"words"}),
    **_BY_MASKS,
)
