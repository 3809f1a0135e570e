"""An explanation method: a pure function from a captured forward pass to a map."""

from __future__ import annotations

from torch import Tensor
from xbench.trace import Trace


def explain(trace: Trace) -> Tensor:
    """Return the mean over the heads of the last decoder layer: [token, frame], rows sum to one."""
    return trace.cross_attention[-1].mean(0)
