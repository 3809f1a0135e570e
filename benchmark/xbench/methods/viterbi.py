"""The best monotonic segmentation of the clip into tokens and pauses, from attention and loudness.

    viterbi-path   M[i, j] = 1 where the best path is in token i at frame j, else 0

States are pause, token 1, pause, token 2, ..., token K, pause (content tokens only). The path takes one state per
frame: it stays, or goes to the next state, or from a token straight to the next token. It starts in the first pause or
token and ends in the last. The best path has the largest sum over frames of

    token i    log(A[i, j]^sharpen / sum over j' of A[i, j']^sharpen + 1e-8),   A = the map of `method`
    pause      log(b_j) - penalty,   b_j = (1 - clip((e_j - quiet) / (loud - quiet), 0, 1))^gamma, clipped to [1e-4, 1]

e_j is the log-energy of frame j (as in the control `energy`). quiet is the 10th percentile of the energies of
all spectrogram frames that the model hears, padding included; loud is the 90th of those that carry audio. Of
equal ways into a state it prefers to stay, then the step from the state before.

A frame belongs to one token or to none, so pauses explain nothing. Rows of special tokens are zero. If there are
fewer frames than content tokens no path exists, and all rows are zero (metrics count them as constant).

Source: word timing of CrisperWhisper 2 (arXiv 2607.18934; `word_timing.py` of the authors' code), with these
differences: there a state is a word, each pause takes at least one frame, `loud` is over the whole window, and
gaps up to 0.1 s are divided between neighbouring words afterwards.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xbench.case import Case
from xbench.methods.compute import compute_map
from xbench.methods.controls import frame_energy
from xbench.methods.corpus import distribution_of

_TOKEN_FLOOR = 1e-8
_PAUSE_FLOOR = 1e-4
_QUIET, _LOUD = 10, 90  # percentiles of energy


def viterbi_path(
    case: Case, *, method: str, sharpen: float, gamma: float, penalty: float
) -> Float[Tensor, "token frame"]:
    """Return the frames of each content token on the best path through tokens and pauses."""
    pauses = _pause_scores(case, gamma, penalty)
    description, call = distribution_of(method)
    attention = compute_map(description, call, case)
    content = list(case.layout.content)
    path = np.zeros(attention.shape)
    if 0 < len(content) <= case.layout.frames:
        path[content] = best_path(token_scores(attention[content], sharpen), pauses)
    return torch.from_numpy(path).float()


def token_scores(
    attention: Float[np.ndarray, "token frame"], sharpen: float
) -> Float[np.ndarray, "token frame"]:
    """Return the logarithms of the sharpened rows; a row without any mass scores the same everywhere."""
    highest = attention.max(1, keepdims=True)
    sharp = (attention.astype(np.float64) / np.where(highest > 0, highest, 1.0)) ** sharpen
    mass = sharp.sum(1, keepdims=True)
    scores: Float[np.ndarray, "token frame"] = np.log(
        sharp / np.where(mass > 0, mass, 1.0) + _TOKEN_FLOOR
    )
    return scores


def _pause_scores(case: Case, gamma: float, penalty: float) -> Float[np.ndarray, " frame"]:
    energy = frame_energy(case)
    heard = case.features.values.double().mean(1).cpu().numpy()
    quiet = np.percentile(heard, _QUIET)
    loud = np.percentile(heard[: case.features.melframes], _LOUD)
    level = np.clip((energy - quiet) / max(loud - quiet, 1e-6), 0.0, 1.0)
    scores: Float[np.ndarray, " frame"] = np.log(np.maximum((1 - level) ** gamma, _PAUSE_FLOOR))
    return scores - penalty


def best_path(
    tokens: Float[np.ndarray, "token frame"], pauses: Float[np.ndarray, " frame"]
) -> Bool[np.ndarray, "token frame"]:
    """Return which token the path with the highest sum is in at each frame; in pauses, none.

    Raises ValueError if there are fewer frames than tokens, or no token.
    """
    count, frames = tokens.shape
    if not 0 < count <= frames:
        raise ValueError(f"{count} tokens have no path through {frames} frames")
    scores = np.empty((2 * count + 1, frames))
    scores[0::2], scores[1::2] = pauses, tokens
    may_skip = np.zeros(len(scores), dtype=bool)
    may_skip[3::2] = True  # from the token before, over the pause
    best = np.full(len(scores), -np.inf)
    best[:2] = scores[:2, 0]
    came = np.zeros((frames, len(scores)), dtype=np.int8)  # 0: stayed, 1: next, 2: over a pause
    for frame in range(1, frames):
        following = np.concatenate(([-np.inf], best[:-1]))
        skipping = np.where(may_skip, np.concatenate(([-np.inf, -np.inf], best[:-2])), -np.inf)
        ways = np.stack([best, following, skipping])
        came[frame] = ways.argmax(0)
        best = ways.max(0) + scores[:, frame]
    state = len(scores) - 1 if best[-1] > best[-2] else len(scores) - 2
    path = np.zeros((count, frames), dtype=bool)
    for frame in reversed(range(frames)):
        if state % 2:
            path[state // 2, frame] = True
        state -= came[frame, state]
    return path
