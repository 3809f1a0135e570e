"""The second map of SPES: which of the tokens before it a token leans on.

    S[i, j] = mean of KL( p_i || p_i under the mask ) over the masks that hide token j,   j < i

It is no reference that methods are compared with, since it has no frames: `xbench audit prefix` shows it beside the
share of the audio. Masks hide tokens alone, the audio stays as it is.
Source: Fucci et al. 2024, arXiv 2411.01710. Their p and number of masks for this map are not known to us; the default
of their software is p = 0.5.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from xbench.case import Case
from xbench.hiding.prefix import PreviousTokens
from xbench.hiding.segments import frame_segments
from xbench.references.estimation import Recipe, Sampling, estimate


@torch.inference_mode()
def prefix_relevance(
    case: Case, sampling: Sampling, *, masks: int, p: float = 0.5
) -> Float[np.ndarray, "token previous"]:
    """Return the relevance of every earlier token for every token in nats; 0 where j does not come before i.

    Column j is token j. Raises as `PreviousTokens`.
    """
    previous = PreviousTokens(case)
    drawn = replace(case, key=f"prefix:{case.key}")  # other random numbers than masks of frames
    found = estimate(
        previous.measure(sampling.batch_size),
        frame_segments(previous.cells),
        drawn,
        sampling,
        Recipe(masks, p),
        neutral="zero vector",
    )
    values: Float[np.ndarray, "token previous"] = np.tril(found.mean(), k=-1)
    return values
