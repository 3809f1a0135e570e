"""What the registry reads; imports no torch."""

from xbench.description import MethodDescription

DESCRIPTION = MethodDescription(
    name="last-layer",
    version="1",  # raise it when its maps change
    summary="mean cross-attention over the heads of the last decoder layer",
    source="ours",
    implementation="last_layer.last_layer:explain",
    kind="attention",
    distribution=True,  # rows are non-negative and sum to one
)
