"""Cross-attention with its sinks removed, and heads chosen by their shape in the utterance itself.

A *sink* is a frame that takes a large share of the attention of every token, whatever the token is. What is the same
for all tokens explains none of them, yet it decides the mean over heads. A[h, i, j] is one chosen head, valid
frames only, rows renormalised; sums, means and norms "over tokens" run over the counted rows (below).

    frame-divided       N(mean over h of A[h, i, j] / s[h, j]),   s = mean over tokens (by=mean), or
                        the square root of the sum of squares over tokens (by=norm)
    frame-zscore        mean over h of (A[h, i, j] - m[h, j]) / sd[h, j], mean and population deviation over tokens;
                        negative values become 0 unless part=signed
    doa                 frame-zscore with part=signed, rows=generated, per=mean: one mean over heads is standardised
    sinks-dropped       N(mean over h of N(A[h] with 0 on the `frames` frames with the largest mean over tokens))
    norm-chosen-heads   the k heads with the largest  q[h] = sum over j |A[h, :, j]| + sum over i |A[h, i, :]|;
                        map: frame-divided (by=norm) over these, or their mean (divided=false)

per=head takes statistics of each head, per=mean those of the mean over the chosen heads. N divides a row by its sum;
a row without any mass stays zero.

Counted rows: `content` (the default) are content tokens; `generated` also end of text and other special tokens; `all`
also the prompt, whose rows look at sinks most. A row that is not counted is scaled over the counted rows
and itself, as in `whisper-timing`. A frame that all counted rows weigh alike is 0 in frame-zscore; one that none
looks at is 0 in frame-divided. If there is no content token, all generated rows count.

|.| is the Euclidean norm. A head has large norms over frames (sum over i) where its tokens look at few frames, and
large norms over tokens (sum over j) where each frame is looked at by few tokens: an alignment has both.
Sources: sinks: Xiao et al. 2024, arXiv 2309.17453; norms over tokens: openai/whisper `timing.py` in its first version;
choice of heads: Yeh, Meng and Tang 2025, arXiv 2509.09987, and `filter_attention` of the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xbench.errors import Unsupported
from xbench.methods.attention import choose, normalised
from xbench.methods.timing import over_tokens, standardised
from xbench.trace import Trace


@dataclass(frozen=True)
class _Rows:
    """Chosen heads with the rows that statistics over tokens need.

    prompt: how many rows of `weights` come before the first generated token. counted: the indices of counted rows.
    """

    weights: Float[Tensor, "chosen row frame"]
    prompt: int
    counted: list[int]

    def per(self, what: str) -> _Rows:
        """Return the heads one by one ("head") or their mean as the only one ("mean")."""
        mean = self.weights.mean(0, keepdim=True)
        return _Rows(mean, self.prompt, self.counted) if what == "mean" else self

    def generated(self, values: np.ndarray) -> Float[Tensor, "chosen token frame"]:
        """Return the rows of generated tokens."""
        return torch.from_numpy(values[:, self.prompt :])


def frame_divided(
    trace: Trace, *, layers: str, heads: str, by: str, rows: str, per: str
) -> Float[Tensor, "token frame"]:
    """Return attention divided by what its frame gets over tokens, rows normalised."""
    return _divided(_rows(trace, layers, heads, rows).per(per), by)


def frame_zscore(
    trace: Trace, *, layers: str, heads: str, part: str, rows: str, per: str
) -> Float[Tensor, "token frame"]:
    """Return how far attention lies above that of other tokens to the same frame, in standard deviations."""
    chosen = _rows(trace, layers, heads, rows).per(per)
    z = over_tokens(chosen.weights.double().cpu().numpy(), chosen.counted, standardised)
    mean = chosen.generated(z).mean(0).float()
    return mean if part == "signed" else mean.clamp_min(0)


def doa(trace: Trace, *, layers: str) -> Float[Tensor, "token frame"]:
    """Return the mean over all heads of the chosen layers, in standard deviations over the tokens of each frame."""
    return frame_zscore(
        trace, layers=layers, heads="all", part="signed", rows="generated", per="mean"
    )


def sinks_dropped(
    trace: Trace, *, layers: str, heads: str, frames: int, rows: str, per: str
) -> Float[Tensor, "token frame"]:
    """Return attention to all but the most attended frames, rows normalised.

    At least one frame stays. Of frames with equal shares the earlier one is dropped first.
    """
    chosen = _rows(trace, layers, heads, rows).per(per)
    shares = chosen.weights[:, chosen.counted].mean(1)  # [chosen, frame]
    dropped = shares.argsort(dim=-1, descending=True, stable=True)[
        :, : min(frames, shares.shape[-1] - 1)
    ]
    kept = torch.ones_like(shares).scatter_(1, dropped, 0.0)
    left = chosen.weights[:, chosen.prompt :] * kept[:, None]
    return normalised(normalised(left).mean(0))


def norm_chosen_heads(
    trace: Trace, *, k: int, by: str, divided: bool, rows: str
) -> Float[Tensor, "token frame"]:
    """Return the k heads of this utterance whose rows and columns are the sharpest, brought together.

    All heads are taken where the decoder has fewer than k; of equal heads the lower layer and index comes first.
    """
    every = _rows(trace, "all", "all", rows)
    counted = every.weights[:, every.counted].double()
    columns, own_rows = counted.norm(dim=1).sum(-1), counted.norm(dim=2).sum(-1)
    sharp = {"both": columns + own_rows, "columns": columns, "rows": own_rows}[by]
    best = sharp.argsort(dim=0, descending=True, stable=True)[:k]
    chosen = _Rows(every.weights[best], every.prompt, every.counted)
    if divided:
        return _divided(chosen, "norm")
    return chosen.weights[:, chosen.prompt :].mean(0)


def _divided(chosen: _Rows, by: str) -> Float[Tensor, "token frame"]:
    scale = _over_mean if by == "mean" else _over_norm
    divided = over_tokens(chosen.weights.double().cpu().numpy(), chosen.counted, scale)
    return normalised(chosen.generated(divided).mean(0)).float()


def _over_mean(
    weights: Float[np.ndarray, "head token frame"],
) -> Float[np.ndarray, "head token frame"]:
    return _quotient(weights, weights.mean(1, keepdims=True))


def _over_norm(
    weights: Float[np.ndarray, "head token frame"],
) -> Float[np.ndarray, "head token frame"]:
    return _quotient(weights, np.linalg.norm(weights, axis=1, keepdims=True))


def _quotient(
    weights: Float[np.ndarray, "head token frame"], by: Float[np.ndarray, "head 1 frame"]
) -> Float[np.ndarray, "head token frame"]:
    """Divide, with 0 where nothing looks."""
    quotient: Float[np.ndarray, "head token frame"] = np.where(
        by > 0, weights / np.where(by > 0, by, 1.0), 0.0
    )
    return quotient


def _rows(trace: Trace, layers: str, heads: str, rows: str) -> _Rows:
    weights = choose(trace.source_attention, layers, heads)
    generated = list(range(weights.shape[1]))
    if rows != "all":
        content = list(trace.layout.content) if rows == "content" else []
        return _Rows(weights, 0, content or generated)
    if trace.prompt_attention is None:
        raise Unsupported("this model's trace holds no rows of the prompt; take rows=generated")
    prompt = choose(trace.prompt_attention, layers, heads)
    together = torch.cat([prompt, weights], 1)
    return _Rows(together, prompt.shape[1], list(range(together.shape[1])))
