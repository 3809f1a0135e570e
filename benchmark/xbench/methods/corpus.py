"""Methods that look beyond their own utterance: at the dev split, or at a partner utterance.

    best-head      A[l, h] of the head with the highest mean headline score on the dev split
    top-k-heads    mean of the k highest
    greedy-heads   mean of a set that grows by the head that raises the mean headline score of the set's mean map most
                   (of the 32 best heads alone), up to k heads or until none raises it
    corpus-mean    mean dev reference on a common grid of token rank by relative time, stretched to the
                   utterance: what is known without hearing it (control)
    shuffled       a method's map of another utterance, stretched to this one (control)

Without a dev split the first four are fitted on the test utterances and their rows say `oracle`: the maximum
of a sweep over heads is always one. Sources: Papi et al. 2025, arXiv 2509.18010 (best heads); scoring by floor
controls: docs/methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xbench import registry
from xbench.case import Case
from xbench.description import MethodDescription
from xbench.errors import Unsupported
from xbench.fitting import FitSplit, Fitted, Learned
from xbench.maps import GridMap, Layout
from xbench.methods.compute import compute_map
from xbench.spec import Call
from xbench.trace import Trace

Head = tuple[int, int]  # decoder layer, head

_CANDIDATES = 32  # heads that a set may be made of: a model may have hundreds
_GRID = (64, 256)  # token ranks by relative times: finer than any utterance of the tasks


def fit_heads(split: FitSplit, *, k: int) -> Learned:
    """Rank all heads by their mean headline score and keep the k best, best first."""
    layers, heads = _size(split)
    if k > layers * heads:
        raise Unsupported(f"k={k} is more than the {layers * heads} heads of the decoder")
    ranked = _ranked(split)
    if len(ranked) < k:
        raise Unsupported(
            f"only {len(ranked)} heads have a score on the split they are selected on"
        )
    best = list(ranked)[:k]
    return Learned({"heads": [list(p) for p in best], "scores": [ranked[p] for p in best]})


def fit_greedy_heads(split: FitSplit, *, k: int) -> Learned:
    """Add head after head, each time the one that raises the score of the mean map most.

    Returns the heads in the order in which they were added, and the dev score after each.
    """
    candidates = list(_ranked(split))[:_CANDIDATES]
    if not candidates:
        raise Unsupported("no head has a score on the split they are selected on")
    sums = [torch.zeros_like(case.trace.source_attention[0, 0]) for case in split.cases]
    chosen: list[Head] = []
    scores: list[float] = []
    while len(chosen) < min(k, len(candidates)):
        tried = {
            head: score
            for head in candidates
            if head not in chosen
            and (score := _mean_score(split, head, among=(sums, len(chosen)))) is not None
        }
        best = max(tried, key=lambda head: tried[head], default=None)
        if best is None or (scores and tried[best] <= scores[-1]):
            break
        chosen.append(best)
        scores.append(tried[best])
        sums = [
            total + case.trace.source_attention[best]
            for total, case in zip(sums, split.cases, strict=True)
        ]
    return Learned({"heads": [list(head) for head in chosen], "scores": scores})


def _size(split: FitSplit) -> tuple[int, int]:
    """Return how many layers and heads the decoder has."""
    if not split.cases:
        raise Unsupported("there is no utterance to select heads on")
    layers, heads = split.cases[0].trace.source_attention.shape[:2]
    return layers, heads


def _ranked(split: FitSplit) -> dict[Head, float]:
    """Return the mean headline score of every head that has one, best first."""
    layers, heads = _size(split)
    means = {
        (layer, head): mean
        for layer in range(layers)
        for head in range(heads)
        if (mean := _mean_score(split, (layer, head))) is not None
    }
    return {pair: means[pair] for pair in sorted(means, key=lambda pair: (-means[pair], pair))}


def _mean_score(
    split: FitSplit, head: Head, among: tuple[Sequence[Tensor], int] | None = None
) -> float | None:
    """Return the mean score of a head, or of its mean with heads whose sums and number are given."""
    sums, size = among or ([torch.zeros(())] * len(split.cases), 0)
    scores = [
        split.score(_grid((total + case.trace.source_attention[head]) / (size + 1)), case).value
        for total, case in zip(sums, split.cases, strict=True)
    ]
    defined = [score for score in scores if score is not None]
    return float(np.mean(defined)) if defined else None


def _grid(values: Float[Tensor, "token frame"]) -> GridMap:
    return GridMap(values.cpu().numpy())


def fit_best_head(split: FitSplit) -> Learned:
    """Keep the one best head."""
    return fit_heads(split, k=1)


def best_head(trace: Trace, *, fitted: Fitted) -> Float[Tensor, "token frame"]:
    """Return the cross-attention of the head selected on other utterances."""
    return _mean_of(trace, fitted)


def top_k_heads(trace: Trace, *, k: int, fitted: Fitted) -> Float[Tensor, "token frame"]:
    """Return the mean of the k selected heads."""
    return _mean_of(trace, fitted)


def greedy_heads(trace: Trace, *, k: int, fitted: Fitted) -> Float[Tensor, "token frame"]:
    """Return the mean of the set that was found."""
    return _mean_of(trace, fitted)


def _mean_of(trace: Trace, fitted: Fitted) -> Float[Tensor, "token frame"]:
    chosen = [trace.source_attention[layer, head] for layer, head in fitted.learned.facts["heads"]]
    return torch.stack(chosen).mean(0)


def fit_corpus_mean(split: FitSplit) -> Learned:
    """Average the references, each row scaled to sum one and stretched to the common grid."""
    stretched = []
    for case in split.cases:
        rows = case.reference.values[list(case.trace.layout.content)]
        mass = rows.sum(1, keepdims=True)
        if len(rows) and (mass > 0).all():
            stretched.append(stretch(rows / mass, *_GRID))
    if not stretched:
        raise Unsupported("no utterance has a reference to average")
    mean = np.mean(stretched, axis=0)
    return Learned({"utterances": len(stretched)}, {"mean": mean / mean.sum(1, keepdims=True)})


def corpus_mean(trace: Trace, *, fitted: Fitted) -> Float[Tensor, "token frame"]:
    """Return the mean map of other utterances, stretched to this one."""
    return _placed(fitted.learned.arrays["mean"], trace.layout)


def shuffled(case: Case, *, method: str) -> Float[Tensor, "token frame"]:
    """Return a method's map of a partner of another cluster and sentence, stretched to this one."""
    if case.partner is None:
        raise Unsupported(
            "there is no other utterance of another cluster and sentence to swap with"
        )
    description, call = distribution_of(method)
    values = compute_map(description, call, case.partner)
    return _placed(values[list(case.partner.layout.content)], case.layout)


def distribution_of(method: str) -> tuple[MethodDescription, Call]:
    """Resolve a method whose map can stand in for the control's: the control is a distribution too."""
    description, call = registry.methods.resolve(Call.parse(method))
    if description.space != "encoder" or not description.distribution:
        raise Unsupported(f"'{method}' has no encoder-frame map whose rows sum to one")
    if description.fit or "partner" in description.needs:
        raise Unsupported(f"'{method}' itself looks at other utterances")
    return description, call


def stretch(
    values: Float[np.ndarray, "token frame"], rows: int, columns: int
) -> Float[np.ndarray, "rows columns"]:
    """Resample a map by linear interpolation between cell centres, on both axes."""

    def positions(size: int, wanted: int) -> np.ndarray:
        return np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)

    def along_rows(table: np.ndarray, wanted: int) -> np.ndarray:
        at = positions(len(table), wanted)
        low = np.floor(at).astype(int)
        share = (at - low)[:, None]
        high = np.minimum(low + 1, len(table) - 1)
        return np.asarray((1 - share) * table[low] + share * table[high])

    return along_rows(along_rows(values.astype(np.float64), rows).T, columns).T


def _placed(
    values: Float[np.ndarray, "rows columns"], axes: Layout
) -> Float[Tensor, "token frame"]:
    """Stretch to the content rows; a special token takes the row of the content token before it."""
    content = stretch(values, len(axes.content), axes.frames)
    is_content = np.isin(np.arange(len(axes.tokens)), axes.content)
    rows = content[np.maximum(np.cumsum(is_content) - 1, 0)]
    mass = rows.sum(1, keepdims=True)
    return torch.from_numpy(rows / np.where(mass > 0, mass, 1)).float()


def randomised_model(case: Case, *, method: str, seed: int) -> Float[Tensor, "token *cells"]:
    """Return a method's map from the same architecture with re-initialised weights.

    The hypothesis stays that of the trained model. Source: Adebayo et al. 2018, arXiv 1810.03292.
    """
    description, call = distribution_of(method)
    model: Any = case.model.randomised(seed)
    trace = model.trace(case.features, case.hypothesis, description.needs)
    values = compute_map(
        description, call, Case(model, case.features, case.hypothesis, case.key, trace)
    )
    return torch.from_numpy(values)
