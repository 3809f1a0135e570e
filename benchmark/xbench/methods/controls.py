"""Controls: maps that know nothing about the model. A method that does not beat them explains nothing.

uniform    1/T' everywhere
random     rows drawn from a flat Dirichlet distribution
diagonal   row of the k-th of K content tokens: a Gaussian around frame T' (k + 1/2) / K with
           standard deviation width * T', normalised over the T' valid frames
energy     e_j - min e, divided by its sum; e_j = mean of the model's log-mel spectrogram over all mel
           channels and the valid spectrogram frames s j ... s j + s - 1 of encoder frame j (s = stride):
           a mean log-energy, in the units of the model. Where all frames are alike, 1/T'
voiced     1/n on the n frames with e_j >= min e + threshold * (max e - min e), 0 elsewhere

`energy` and `voiced` are the same for every token, so `pearson-paper` is null for them.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xbench.case import Case
from xbench.errors import Unsupported
from xbench.maps import Layout, pool
from xbench.models.protocol import NO_SPECTROGRAM
from xbench.spec import Scoring
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


def energy(case: Case) -> Float[Tensor, "token frame"]:
    """Return the log-energy of each frame above the quietest one, the same for every token."""
    above = frame_energy(case)
    above = above - above.min()
    if above.sum() == 0:
        above = np.ones_like(above)
    return _for_every_token(above / above.sum(), case.layout)


def voiced(case: Case, *, threshold: float) -> Float[Tensor, "token frame"]:
    """Return uniform mass over the frames that are louder than the threshold."""
    level = frame_energy(case)
    quietest, loudest = level.min(), level.max()
    loud = level >= quietest + threshold * (loudest - quietest)
    loud |= level == loudest  # rounding must not leave a row without any mass
    return _for_every_token(loud / loud.sum(), case.layout)


def frame_energy(case: Case) -> Float[np.ndarray, " frame"]:
    """Return the mean of the log-mel spectrogram over the cells of each encoder frame."""
    if not case.model.info.spectrogram:
        raise Unsupported(NO_SPECTROGRAM)
    spectrogram = case.features.valid.double().cpu().numpy()
    one_row = Scoring(pool_frequency="mean", pool_time="mean", window="block")
    energies: Float[np.ndarray, " frame"] = pool(spectrogram[None], case.layout, one_row)[0]
    return energies


def _for_every_token(
    row: Float[np.ndarray, " frame"], layout: Layout
) -> Float[Tensor, "token frame"]:
    return torch.from_numpy(row).float().expand(len(layout.tokens), -1).contiguous()
