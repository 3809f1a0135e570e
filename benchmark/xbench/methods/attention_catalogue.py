"""Descriptions of the built-in methods (torch-free; `xbench show method NAME` prints them)."""

from __future__ import annotations

from xbench.description import MethodDescription, Parameter

_PAPI = "Papi et al. 2025, arXiv 2509.18010, section 2"
_IGNORES = "everything before the encoder output and everything after the attention weights"

_MODEL = "the model"

_LAYER = Parameter(
    "layer", "int", "decoder layer, from 0; * = each", required=True, minimum=0, sweep="layer"
)
_HEAD = Parameter(
    "head", "int", "attention head, from 0; * = each", required=True, minimum=0, sweep="head"
)
_NAMES = "all, last, lower-half, upper-half or such as 0+2"
_LAYERS = Parameter("layers", "indices", f"decoder layers, from 0: {_NAMES}", default="all")
_HEADS = Parameter("heads", "indices", f"attention heads, from 0: {_NAMES}", default="all")
_INSEQ = "as in inseq: Sarti et al. 2023, arXiv 2302.13942"
_TIMING = "Radford et al. 2023, arXiv 2212.04356; openai/whisper timing.py"
_FILTER_WIDTH = Parameter(
    "filter_width", "int", "frames of the median filter, odd; 1 = none", default=7, minimum=1
)


def _over_heads(name: str, summary: str, source: str = _INSEQ) -> MethodDescription:
    """Describe a method of `xbench.methods.attention` that brings chosen heads together."""
    return MethodDescription(
        name=name,
        version="1",
        summary=summary,
        source=source,
        implementation=f"xbench.methods.attention:{name.replace('-', '_')}",
        parameters=(_LAYERS, _HEADS),
        kind="attention",
        distribution=True,
        ignores=_IGNORES,
    )


RAW_ATTENTION = MethodDescription(
    name="raw-attention",
    version="1",
    summary="cross-attention weights of one head of one decoder layer",
    source="Bahdanau et al. 2015; Vaswani et al. 2017",
    implementation="xbench.methods.attention:raw_attention",
    parameters=(_LAYER, _HEAD),
    kind="attention",
    distribution=True,
    ignores=_IGNORES,
)
MEAN_HEADS = _over_heads(
    "mean-heads", "mean cross-attention over the chosen heads and decoder layers", _PAPI
)
MAX_HEADS = _over_heads(
    "max-heads", "largest cross-attention over the chosen heads and layers, rows renormalised"
)
MEDIAN_HEADS = _over_heads(
    "median-heads",
    "median cross-attention over the chosen heads and layers, rows renormalised",
    "standard",
)
MIN_HEADS = _over_heads(
    "min-heads", "smallest cross-attention over the chosen heads and layers, rows renormalised"
)
PRODUCT_HEADS = _over_heads(
    "product-heads", "product of cross-attention over the chosen heads and layers, renormalised"
)
ENTROPY_WEIGHTED = _over_heads(
    "entropy-weighted", "mean over heads, weighted by one minus their normalised entropy", "ours"
)
VARIANCE_WEIGHTED = _over_heads(
    "variance-weighted", "mean over heads, weighted by how much they vary with the token", "ours"
)
MEAN_LAYERS = MethodDescription(
    name="mean-layers",
    version="1",
    summary="mean cross-attention of one head index over all decoder layers",
    source=_PAPI,
    implementation="xbench.methods.attention:mean_layers",
    parameters=(_HEAD,),
    kind="attention",
    distribution=True,
    ignores=_IGNORES,
)
ALIGNMENT_HEADS = MethodDescription(
    name="alignment-heads",
    version="1",
    summary="mean cross-attention over the heads that the checkpoint publishes for alignment",
    source="Radford et al. 2023, arXiv 2212.04356",
    implementation="xbench.methods.timing:alignment_heads",
    kind="attention",
    distribution=True,
    takes="case",
    ignores=_IGNORES,
)
WHISPER_TIMING = MethodDescription(
    name="whisper-timing",
    version="1",
    summary="alignment heads standardised over tokens and median-filtered over frames",
    source=_TIMING,
    implementation="xbench.methods.timing:whisper_timing",
    parameters=(_FILTER_WIDTH,),
    kind="attention",
    signed=True,
    distribution=False,
    takes="case",
    needs=frozenset({"cross-projections"}),
    ignores=_IGNORES,
)
DTW_PATH = MethodDescription(
    name="dtw-path",
    version="1",
    summary="monotonic path through the negated whisper-timing matrix: 1 on it, 0 elsewhere",
    source=f"{_TIMING}; Sakoe and Chiba 1978",
    implementation="xbench.methods.timing:dtw_path",
    parameters=(_FILTER_WIDTH,),
    kind="attention",
    distribution=False,
    takes="case",
    needs=frozenset({"cross-projections"}),
    ignores=f"{_IGNORES}; how strong attention is, beside where the path goes",
)
UNIFORM = MethodDescription(
    name="uniform",
    version="1",
    summary="equal relevance for every frame (control)",
    source="control",
    implementation="xbench.methods.controls:uniform",
    kind="control",
    distribution=True,
    cost="none",
    ignores=_MODEL,
)
RANDOM = MethodDescription(
    name="random",
    version="1",
    summary="random rows from a flat Dirichlet distribution (control)",
    source="control",
    implementation="xbench.methods.controls:random",
    parameters=(Parameter("seed", "int", "seed of the draw", default=0, minimum=0),),
    kind="control",
    distribution=True,
    cost="none",
    ignores=_MODEL,
)
DIAGONAL = MethodDescription(
    name="diagonal",
    version="1",
    summary="soft monotonic ramp through time (control, the usual floor)",
    source="control",
    implementation="xbench.methods.controls:diagonal",
    parameters=(
        Parameter(
            "width",
            "float",
            "standard deviation as a share of the valid frames",
            default=0.1,
            minimum=0,
            maximum=1,
        ),
    ),
    kind="control",
    distribution=True,
    cost="none",
    ignores=_MODEL,
)
ENERGY = MethodDescription(
    name="energy",
    version="1",
    summary="log-energy of each frame, the same for every token (control)",
    source="control",
    implementation="xbench.methods.controls:energy",
    kind="control",
    distribution=True,
    takes="case",
    cost="none",
    ignores=f"{_MODEL} and the token",
)
VOICED = MethodDescription(
    name="voiced",
    version="1",
    summary="equal relevance for every frame above an energy threshold (control)",
    source="control",
    implementation="xbench.methods.controls:voiced",
    parameters=(
        Parameter(
            "threshold",
            "float",
            "between the quietest frame (0) and the loudest one (1)",
            default=0.3,
            minimum=0,
            maximum=1,
        ),
    ),
    kind="control",
    distribution=True,
    takes="case",
    cost="none",
    ignores=f"{_MODEL} and the token",
)
WORD_WINDOW = MethodDescription(
    name="word-window",
    version="1",
    summary="equal relevance for the frames of the token's word, from the manifest (oracle control)",
    source="control",
    implementation="xbench.methods.word_window:word_window",
    kind="control",
    distribution=True,
    takes="case",
    needs=frozenset({"words"}),
    cost="none",
    ignores=_MODEL,
)
