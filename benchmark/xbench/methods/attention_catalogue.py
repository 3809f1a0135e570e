"""Descriptions of the built-in methods (torch-free; `xbench show method NAME` prints them)."""

from __future__ import annotations

from dataclasses import replace

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
_EVERY_ROW = Parameter(
    "rows",
    "str",
    "rows that standardising counts: all, as openai/whisper does (the prompt and end of text too; one forward pass "
    "more); content tokens where it is not given",
    choices=("all",),
)
_SINKS = "Xiao et al. 2024, arXiv 2309.17453"
_ROWS = Parameter(
    "rows",
    "str",
    "rows that statistics over tokens count: content, generated (also end of text), all (also the prompt)",
    default="content",
    choices=("content", "generated", "all"),
)
_PER = Parameter(
    "per",
    "str",
    "statistics of each head, or of the mean over heads",
    default="head",
    choices=("head", "mean"),
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
    parameters=(_FILTER_WIDTH, _EVERY_ROW),
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
    parameters=(_FILTER_WIDTH, _EVERY_ROW),
    kind="attention",
    distribution=False,
    takes="case",
    needs=frozenset({"cross-projections"}),
    ignores=f"{_IGNORES}; how strong attention is, beside where the path goes",
)
FRAME_DIVIDED = MethodDescription(
    name="frame-divided",
    version="1",
    summary="cross-attention divided by what its frame gets over tokens, rows renormalised",
    source=f"sinks: {_SINKS}; norms over tokens: openai/whisper timing.py, first version",
    implementation="xbench.methods.sinks:frame_divided",
    parameters=(
        _LAYERS,
        _HEADS,
        Parameter(
            "by",
            "str",
            "mean over tokens, or norm: root of the sum of squares over tokens",
            default="mean",
            choices=("mean", "norm"),
        ),
        _ROWS,
        _PER,
    ),
    kind="attention",
    distribution=True,
    ignores=f"{_IGNORES}; how much a frame gets from all tokens together",
)
FRAME_ZSCORE = MethodDescription(
    name="frame-zscore",
    version="1",
    summary="cross-attention standardised over the tokens of each frame, positive part",
    source=f"{_TIMING}; {_PAPI}",
    implementation="xbench.methods.sinks:frame_zscore",
    parameters=(
        _LAYERS,
        _HEADS,
        Parameter(
            "part",
            "str",
            "positive: negative values become 0; signed: they stay",
            default="positive",
            choices=("positive", "signed"),
        ),
        _ROWS,
        _PER,
    ),
    kind="attention",
    signed=True,
    distribution=False,
    ignores=f"{_IGNORES}; how much a frame gets from all tokens together",
)
DOA = MethodDescription(
    name="doa",
    version="1",
    summary="mean over the heads of chosen layers, standardised over the tokens of each frame",
    source="Decoder-Only Attention, arXiv 2605.31432; code: hlt-mt/simulstream",
    implementation="xbench.methods.sinks:doa",
    parameters=(replace(_LAYERS, default="upper-half"),),
    kind="attention",
    signed=True,
    distribution=False,
    ignores=f"{_IGNORES}; how much a frame gets from all tokens together",
)
SINKS_DROPPED = MethodDescription(
    name="sinks-dropped",
    version="1",
    summary="mean cross-attention without each head's most attended frames, rows renormalised",
    source=f"sinks: {_SINKS}; dropping them: common practice",
    implementation="xbench.methods.sinks:sinks_dropped",
    parameters=(
        _LAYERS,
        _HEADS,
        Parameter("frames", "int", "frames that are dropped", default=3, minimum=0),
        _ROWS,
        _PER,
    ),
    kind="attention",
    distribution=True,
    ignores=f"{_IGNORES}; the frames that are dropped",
)
NORM_CHOSEN_HEADS = MethodDescription(
    name="norm-chosen-heads",
    version="1",
    summary="the k heads with the largest norms of rows and columns in the utterance, together",
    source="Yeh, Meng and Tang 2025, arXiv 2509.09987",
    implementation="xbench.methods.sinks:norm_chosen_heads",
    parameters=(
        Parameter("k", "int", "heads; all where there are fewer", default=10, minimum=1),
        Parameter(
            "by",
            "str",
            "norms that choose: of rows (tokens), of columns (frames), or their sum (both)",
            default="both",
            choices=("both", "rows", "columns"),
        ),
        Parameter(
            "divided", "bool", "divide each frame of a head by its norm over tokens", default=True
        ),
        _ROWS,
    ),
    kind="attention",
    distribution=True,
    ignores=_IGNORES,
)
VITERBI_PATH = MethodDescription(
    name="viterbi-path",
    version="1",
    summary="best monotonic path through tokens and pauses, from attention and loudness: 1 on it",
    source="word timing of CrisperWhisper 2, arXiv 2607.18934",
    implementation="xbench.methods.viterbi:viterbi_path",
    parameters=(
        Parameter(
            "method", "str", "the method whose map is aligned, by name", default="alignment-heads"
        ),
        Parameter(
            "sharpen", "float", "exponent of the map before it is aligned", default=5.0, minimum=0
        ),
        Parameter("gamma", "float", "exponent of a frame's quietness", default=3.0, minimum=0),
        Parameter(
            "penalty", "float", "taken from each pause frame's score", default=3.0, minimum=0
        ),
    ),
    kind="attention",
    distribution=False,
    takes="case",
    ignores=f"{_IGNORES}, beside loudness; how strong attention is, beside where the path goes",
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
