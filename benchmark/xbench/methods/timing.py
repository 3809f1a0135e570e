"""The attention heads that time words: published with a checkpoint, and used for its timestamps.

    alignment-heads   mean over the K published (l, h) of A[l, h]
    whisper-timing    M = mean over k of median7_j(Z_k),  Z_k[i, j] = (A_k[i, j] - mean_i A_k[i, j]) / sd_i A_k[i, j]
    dtw-path          P[i, j] = 1 where the cheapest monotonic path through -M passes, else 0

A_k = softmax over the valid frames of the scores q k^T / sqrt(d): the scores are cropped, not the
weights, so a head that looks at padding loses nothing to rounding. Mean and population standard
deviation run over the tokens of one frame, for content tokens over the content rows. End of text
and other special tokens do not enter these; such a row is standardised over the content rows and
itself. A frame that all tokens weigh alike is 0. The median filter runs over frames, reflecting at
both ends without repeating the edge. M is signed: below 0 a frame gets less weight from this token
than from others.

rows=all is the rule of openai/whisper to the letter: mean and deviation run over every position of the decoder's input,
from the first of the prompt to end of text. At end of text nothing more is predicted, so no trace holds that position,
and the model runs once more. A text that was cut off has no end: its trace has every position there is.

The path goes over all generated rows, end of text last, and takes the silence that follows the
last word there. It starts in the first frame of the first row, ends in the last frame of the
last, and steps to the next frame, the next row or both. Of paths of equal cost it prefers, looking back from the
end, a step of both at once, then a step to the next row. So each row and each frame has a cell.

Sources: Radford et al. 2023 (arXiv 2212.04356) and openai/whisper `timing.py` (MIT) for the procedure; Sakoe and Chiba
1978 for the path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from xbench.case import Case
from xbench.description import check_index
from xbench.errors import Unsupported
from xbench.maps import CONSTANT
from xbench.trace import Trace

# What standardising counts; None counts the content tokens.
Rows = Literal["all"]
# Rows of some heads to the same rows, each frame scaled by how its weights are spread over them.
Scale = Callable[[Float[np.ndarray, "head token frame"]], Float[np.ndarray, "head token frame"]]


def alignment_heads(case: Case) -> Float[Tensor, "token frame"]:
    """Return the mean over the heads that the checkpoint publishes for alignment."""
    trace = _trace(case)
    return torch.stack([trace.source_attention[pair] for pair in _published(case)]).mean(0)


def whisper_timing(
    case: Case, *, filter_width: int, rows: Rows | None = None
) -> Float[Tensor, "token frame"]:
    """Return the token-standardised, median-filtered mean of the alignment heads."""
    return torch.from_numpy(_timing(case, filter_width, rows)).float()


def dtw_path(
    case: Case, *, filter_width: int, rows: Rows | None = None
) -> Float[Tensor, "token frame"]:
    """Return the cells of the cheapest monotonic path through the negated timing matrix."""
    return torch.from_numpy(cheapest_path(-_timing(case, filter_width, rows))).float()


def _timing(case: Case, filter_width: int, rows: Rows | None) -> Float[np.ndarray, "token frame"]:
    if filter_width % 2 == 0:
        raise Unsupported(f"filter_width {filter_width} is even: a median filter has a middle")
    trace = _trace(case)
    first = trace.prompt_length - 1
    generated = slice(first, first + len(case.layout.tokens))
    if rows == "all":
        weights = _attention(case, _with_the_end(case, trace), slice(None))
        relative = standardised(weights)[:, generated]
    else:
        weights = _attention(case, trace, generated)
        relative = over_tokens(weights, case.layout.content)
    filtered = ndimage.median_filter(relative, size=(1, 1, filter_width), mode="mirror")
    mean: Float[np.ndarray, "token frame"] = filtered.mean(0)
    return mean


def _attention(
    case: Case, trace: Trace, positions: slice
) -> Float[np.ndarray, "head position frame"]:
    """Softmax over the valid frames of the alignment heads' scores, at these positions of the decoder's input."""
    weights = []
    for layer, head in _published(case):
        block = trace.stack("cross")[layer]
        query = block.query[head, positions].float()
        key = block.key[head, : case.layout.frames].float()
        weights.append((block.scale * query @ key.T).softmax(-1))
    stacked: Float[np.ndarray, "head position frame"] = torch.stack(weights).double().cpu().numpy()
    return stacked


def _with_the_end(case: Case, trace: Trace) -> Trace:
    """Trace once more, with end of text as the last input; a text that was cut off has none."""
    spoken = case.hypothesis
    if spoken.truncated:
        return trace
    # The last token of a hypothesis is only predicted. One more behind it, whichever, lets it be read.
    longer = replace(
        spoken,
        tokens=(*spoken.tokens, spoken.tokens[-1]),
        texts=(*spoken.texts, spoken.texts[-1]),
    )
    return case.model.trace(case.features, longer, {"cross-projections"})


def standardised(
    weights: Float[np.ndarray, "head token frame"],
) -> Float[np.ndarray, "head token frame"]:
    """Return how many standard deviations each weight lies above its frame's mean over tokens; 0 in constant frames."""
    if weights.shape[1] == 0:
        return weights
    mean, sd = weights.mean(1, keepdims=True), weights.std(1, keepdims=True)
    constant = sd <= CONSTANT * mean
    z: Float[np.ndarray, "head token frame"] = np.where(
        constant, 0.0, (weights - mean) / np.where(constant, 1.0, sd)
    )
    return z


def over_tokens(
    weights: Float[np.ndarray, "head token frame"],
    counted: Sequence[int],
    scale: Scale = standardised,
) -> Float[np.ndarray, "head token frame"]:
    """Scale each frame over the counted rows; any other row over these and itself."""
    result = np.zeros_like(weights)
    result[:, list(counted)] = scale(weights[:, list(counted)])
    for row in set(range(weights.shape[1])) - set(counted):
        result[:, row] = scale(weights[:, [*counted, row]])[:, -1]
    return result


def cheapest_path(cost: Float[np.ndarray, "token frame"]) -> Float[np.ndarray, "token frame"]:
    """Return 1 on the cells of the cheapest monotonic path from the first cell to the last.

    D[i, j] = cost[i, j] + min(D[i-1, j-1], D[i-1, j], D[i, j-1]). Along a row this is a running
    minimum: with C the cumulated cost of the row and m[k] the cheapest way into it at frame k,
    D[i, j] = C[j] + min over k <= j of (m[k] - C[k-1]).
    """
    rows, frames = cost.shape
    total = np.cumsum(cost, axis=1)  # row 0 is right; later rows become D one by one
    for row in range(1, rows):
        above = total[row - 1]
        entry = np.minimum(above, np.concatenate(([np.inf], above[:-1])))
        before = total[row] - cost[row]
        total[row] += np.minimum.accumulate(entry - before)
    path = np.zeros_like(cost)
    row, frame = rows - 1, frames - 1
    path[row, frame] = 1
    while row or frame:
        ways = [
            (total[r, f], order, r, f)
            for order, (r, f) in enumerate(
                ((row - 1, frame - 1), (row - 1, frame), (row, frame - 1))
            )
            if r >= 0 and f >= 0
        ]
        _, _, row, frame = min(ways)
        path[row, frame] = 1
    return path


def _trace(case: Case) -> Trace:
    if case.trace is None:
        raise ValueError("this case was made without a trace")
    return case.trace


def _published(case: Case) -> tuple[tuple[int, int], ...]:
    """Return the (layer, head) pairs of the checkpoint; never any others."""
    info = case.model.info
    if not info.alignment_heads:
        raise Unsupported(
            f"model '{info.name}' publishes no alignment heads (generation_config.alignment_heads); "
            "name heads yourself with mean-heads:layers=...,heads=..."
        )
    for layer, head in info.alignment_heads:
        check_index("layer", layer, info.decoder_layers)
        check_index("head", head, info.heads)
    return info.alignment_heads
