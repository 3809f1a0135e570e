"""Controls: maps that know nothing of the model. A method must beat them to say anything.

uniform    1/T' everywhere
random     rows drawn from a flat Dirichlet distribution
diagonal   row of the k-th of K content tokens: a Gaussian around frame T' (k + 1/2) / K with
           standard deviation width * T', normalised over the T' valid frames
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xbench.maps import Layout
from xbench.trace import Trace


def uniform(trace: Trace) -> Float[Tensor, "token frame"]:
    """Return equal relevance for every frame."""
    rows, frames = len(trace.layout.tokens), trace.layout.frames
    return torch.full((rows, frames), 1 / frames)


def random(trace: Trace, *, seed: int) -> Float[Tensor, "token frame"]:
    """Return random rows; they follow from the seed, the tokens and the number of frames alone."""
    layout = trace.layout
    generator = np.random.default_rng([seed, layout.frames, *layout.tokens])
    rows = generator.dirichlet(np.ones(layout.frames), size=len(layout.tokens))
    return torch.from_numpy(rows).float()


def diagonal(trace: Trace, *, width: float) -> Float[Tensor, "token frame"]:
    """Return a soft monotonic ramp; special tokens take the place of the content token they follow."""
    layout = trace.layout
    centres = _content_rank(layout) * layout.frames
    positions = np.arange(layout.frames) + 0.5
    # Without the floor a narrow ramp would underflow to rows without any mass.
    deviation = max(width * layout.frames, 0.5)
    log_density = -0.5 * ((positions[None] - centres[:, None]) / deviation) ** 2
    density = np.exp(log_density - log_density.max(1, keepdims=True))
    return torch.from_numpy(density / density.sum(1, keepdims=True)).float()


def _content_rank(layout: Layout) -> Float[np.ndarray, " token"]:
    """Return (k + 1/2) / K for the k-th content token, and the nearest earlier one for others."""
    is_content = np.zeros(len(layout.tokens), dtype=bool)
    is_content[list(layout.content)] = True
    rank = np.maximum(np.cumsum(is_content) - 1, 0)
    return np.asarray((rank + 0.5) / max(len(layout.content), 1))
