"""Descriptions of the methods that follow attention through the network (torch-free)."""

from __future__ import annotations

from xbench.description import MethodDescription, Parameter

_SOURCE = frozenset({"source-projections"})
_CROSS = frozenset({"cross-projections"})
_WITH_ENCODER = _CROSS | {"encoder-projections"}
_ALL = _WITH_ENCODER | {"decoder-projections"}
_LAYERS = Parameter("layers", "indices", "decoder layers, from 0, such as 0+2", default="all")
_OUTSIDE = (
    "input convolutions, feed-forward blocks, how attention weights came about (queries and keys)"
)
_WEIGHTS_ONLY = f"{_OUTSIDE}, the size of what is moved (values), LayerNorms"
_NO_DECODER = "decoder self-attention"

ENCODER_ROLLOUT = MethodDescription(
    name="encoder-rollout",
    version="1",
    summary="mean cross-attention pushed through encoder self-attention, half of it residual",
    source="Abnar & Zuidema 2020, arXiv 2005.00928",
    implementation="xbench.methods.rollout:encoder_rollout",
    parameters=(_LAYERS,),
    kind="attention",
    distribution=True,
    needs=_WITH_ENCODER,
    ignores=f"{_WEIGHTS_ONLY}, {_NO_DECODER}",
)
FULL_ROLLOUT = MethodDescription(
    name="full-rollout",
    version="1",
    summary="attention rollout through decoder self-, cross- and encoder self-attention",
    source="Abnar & Zuidema 2020, arXiv 2005.00928; recursion: Ferrando et al. 2022, arXiv 2205.11631",
    implementation="xbench.methods.rollout:full_rollout",
    kind="attention",
    distribution=True,
    needs=_ALL,
    ignores=_WEIGHTS_ONLY,
)
ENTROPY_ROLLOUT = MethodDescription(
    name="entropy-rollout",
    version="1",
    summary="full-rollout with heads of every block weighted by one minus their normalised entropy",
    source="rollout: Abnar & Zuidema 2020, arXiv 2005.00928; weights: ours",
    implementation="xbench.methods.rollout:entropy_rollout",
    kind="attention",
    distribution=True,
    needs=_ALL,
    ignores=_WEIGHTS_ONLY,
)
ATTENTION_FLOW = MethodDescription(
    name="attention-flow",
    version="1",
    summary="maximum flow from token to pooled frames with attention weights as capacities",
    source="Abnar & Zuidema 2020, arXiv 2005.00928",
    implementation="xbench.methods.flow:attention_flow",
    parameters=(
        Parameter(
            "frames",
            "int",
            "groups that the valid frames are pooled into",
            default=50,
            minimum=1,
            maximum=50,
        ),
    ),
    kind="attention",
    distribution=True,
    needs=_ALL,
    cost="1 forward, and a maximum flow per token and group of frames",
    ignores=f"{_WEIGHTS_ONLY}, differences inside a group of frames",
)
VALUE_NORM = MethodDescription(
    name="value-norm",
    version="1",
    summary="norm of the value vectors that attention to the source adds up, not their weights alone",
    source="Kobayashi et al. 2020, arXiv 2004.10102",
    implementation="xbench.methods.norms:value_norm",
    parameters=(
        _LAYERS,
        Parameter(
            "heads",
            "str",
            "norm of the heads' sum, or sum of the heads' norms",
            default="together",
            choices=("together", "separate"),
        ),
    ),
    kind="attention",
    distribution=True,
    needs=_SOURCE,
    ignores="everything before the encoder output, the residual stream, and everything after the block",
)
VALUE_NORM_RESLN = MethodDescription(
    name="value-norm-resln",
    version="1",
    summary="value norms after the next LayerNorm, layers weighed by their share of the residual stream",
    source="Kobayashi et al. 2021, arXiv 2109.07152",
    implementation="xbench.methods.norms:value_norm_resln",
    parameters=(_LAYERS,),
    kind="attention",
    distribution=True,
    needs=_CROSS,
    ignores="everything before the encoder output, and everything after the LayerNorm that follows the block",
)
GLOBENC = MethodDescription(
    name="globenc",
    version="1",
    summary="cross-attention value norms pushed through norm-based mixing of the encoder",
    source="Modarressi et al. 2022, arXiv 2205.03286",
    implementation="xbench.methods.norms:globenc",
    parameters=(_LAYERS,),
    kind="attention",
    distribution=True,
    needs=_WITH_ENCODER,
    ignores=f"{_OUTSIDE}, {_NO_DECODER}",
)
ALTI = MethodDescription(
    name="alti",
    version="1",
    summary="cross-attention contributions pushed through the encoder's contributions",
    source="Ferrando et al. 2022, arXiv 2203.04212",
    implementation="xbench.methods.alti:alti",
    parameters=(_LAYERS,),
    kind="attention",
    distribution=True,
    needs=_WITH_ENCODER,
    cost="1 forward, and frames x frames x dim additions per encoder layer",
    ignores=f"{_OUTSIDE}, {_NO_DECODER}",
)
ALTI_PLUS = MethodDescription(
    name="alti-plus",
    version="1",
    summary="contributions followed through decoder and encoder; the source's part",
    source="Ferrando et al. 2022, arXiv 2205.11631",
    implementation="xbench.methods.alti:alti_plus",
    kind="attention",
    distribution=True,
    needs=_ALL,
    cost="1 forward, and frames x frames x dim additions per encoder layer",
    ignores=_OUTSIDE,
)
VALUE_ZEROING = MethodDescription(
    name="value-zeroing",
    version="1",
    summary="how far a layer's output turns when frames' values are zeroed",
    source="Mohebbi et al. 2023, arXiv 2301.12971 and arXiv 2310.09925",
    implementation="xbench.methods.value_zeroing:value_zeroing",
    parameters=(
        Parameter(
            "variant",
            "str",
            "zero values in cross-attention only, or through the encoder's layers too",
            default="cross",
            choices=("cross", "encoder"),
        ),
        _LAYERS,
        Parameter(
            "group", "int", "frames zeroed together (not given: cross 1, encoder 10)", minimum=1
        ),
    ),
    kind="attention",
    distribution=True,
    needs=_WITH_ENCODER,
    cost="1 forward, and a feed-forward block per layer and group of frames",
    ignores="input convolutions, queries and keys, decoder self-attention; cross: all of the encoder",
)
PREFIX_ROLLOUT = MethodDescription(
    name="prefix-rollout",
    version="1",
    summary="attention rollout through the one stack of a decoder-only model; the audio's part",
    source="Abnar & Zuidema 2020, arXiv 2005.00928",
    implementation="xbench.methods.rollout:prefix_rollout",
    kind="attention",
    distribution=True,
    needs=_SOURCE,
    kinds=("audio-prefix",),
    ignores=_WEIGHTS_ONLY,
)
