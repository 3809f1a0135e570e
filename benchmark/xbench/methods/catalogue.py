"""Descriptions of the built-in methods (torch-free; `xbench show method NAME` prints them)."""

from __future__ import annotations

from xbench.description import MethodDescription, Parameter

_PAPI = "Papi et al. 2025, arXiv 2509.18010, section 2"
_IGNORES = "everything before the encoder output and everything after the attention weights"

_LAYER = Parameter(
    "layer", "int", "decoder layer, from 0; * = each", required=True, minimum=0, sweep="layer"
)
_HEAD = Parameter(
    "head", "int", "attention head, from 0; * = each", required=True, minimum=0, sweep="head"
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
MEAN_HEADS = MethodDescription(
    name="mean-heads",
    version="1",
    summary="mean cross-attention over all heads of the chosen decoder layers",
    source=_PAPI,
    implementation="xbench.methods.attention:mean_heads",
    parameters=(
        Parameter("layers", "indices", "decoder layers, from 0, such as 0+2", default="all"),
    ),
    kind="attention",
    distribution=True,
    ignores=_IGNORES,
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
UNIFORM = MethodDescription(
    name="uniform",
    version="1",
    summary="equal relevance for every frame (control)",
    source="control",
    implementation="xbench.methods.controls:uniform",
    kind="control",
    distribution=True,
    cost="none",
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
)
