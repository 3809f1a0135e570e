"""Agreement metrics that use only the order of the frames of each token: correlations of ranks, top frames, ROC.

All are means over the content tokens that have a value (`xbench.metrics.batch` says which have
none). Equal values share their mean rank, as in scipy; a map with many zeros is one large tie, not an
arbitrary order. Nothing changes under a strictly increasing function of a row, nor under one
permutation of the frames of map and reference.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from xbench.maps import GridMap, Layout
from xbench.metrics import Score
from xbench.metrics.batch import (
    Judged,
    Maps,
    Spans,
    constant_rows,
    judge_one,
    mean_over_tokens,
    runs,
)
from xbench.metrics.timing import word_frames
from xbench.spec import Scoring

_COLUMNS_AT_ONCE = 1 << 13


# -- correlations of ranks ------------------------------------------------------------------------


def spearman(method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring) -> Score:
    """Return the mean over tokens of Spearman's rank correlation.

    rho_i = Pearson(rank E_i, rank S_i), mean ranks among equal values.
    Shapes: E, S [token, frame], all generated rows. Source: Spearman 1904.
    """
    return judge_one(spearman_of_many, method, reference, layout, scoring)


def spearman_of_many(maps: Maps, reference: Maps, scoring: Scoring) -> Judged:
    """Return `spearman` of every map."""
    middle = (maps.frames + 1) / 2  # the mean of the ranks of every row
    ours, theirs = maps.ranks - middle, reference.ranks - middle
    norm = np.sqrt(np.vecdot(ours, ours) * np.vecdot(theirs, theirs))
    values = np.vecdot(ours, theirs) / np.where(norm > 0, norm, 1.0)
    return mean_over_tokens(np.clip(values, -1.0, 1.0), constant_rows(maps, reference))


def kendall_tau_b(method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring) -> Score:
    """Return the mean over tokens of Kendall's tau-b.

    tau_i = (C - D) / sqrt((N - T_E)(N - T_S)), C and D the concordant and discordant pairs of frames,
    N = F(F - 1)/2 all pairs, T_E and T_S those tied in the map and in the reference.
    Shapes: E, S [token, frame], all generated rows. Source: Kendall 1945.
    """
    return judge_one(kendall_tau_b_of_many, method, reference, layout, scoring)


def kendall_tau_b_of_many(maps: Maps, reference: Maps, scoring: Scoring) -> Judged:
    """Return `kendall-tau-b` of every map."""
    frames = maps.frames
    # Sorted by reference, then by map, only discordant pairs of frames stand in the wrong order.
    keys = reference.first.astype(np.int64) * frames + maps.first
    keys.sort(axis=2)
    discordant = _inversions(keys % frames)
    all_pairs = frames * (frames - 1) // 2
    tied_ours = (maps.last - maps.first).sum(2, dtype=np.int64) // 2
    tied_theirs = (reference.last - reference.first).sum(2, dtype=np.int64) // 2
    first, last = runs(keys)
    tied_both = np.asarray(last - first).sum(-1, dtype=np.int64) // 2
    difference = all_pairs - tied_ours - tied_theirs + tied_both - 2 * discordant
    scale = np.sqrt((all_pairs - tied_ours) * 1.0) * np.sqrt((all_pairs - tied_theirs) * 1.0)
    values = difference / np.where(scale > 0, scale, 1.0)
    return mean_over_tokens(np.clip(values, -1.0, 1.0), constant_rows(maps, reference))


def _inversions(places: Int[np.ndarray, "map token frame"]) -> Int[np.ndarray, "map token"]:
    """Count in each row the pairs i < j with places[i] > places[j]; values lie in 0 .. frames - 1.

    All rows take one step per frame together, in the smallest type that holds a count: quadratic in
    the frames, but faster than a merge up to thousands of them.
    """
    maps, tokens, frames = places.shape
    small = np.uint8 if frames <= 256 else np.uint16 if frames <= 65_536 else np.uint32
    columns = np.ascontiguousarray(places.reshape(-1, frames).T.astype(small))
    total = np.zeros(maps * tokens, dtype=np.int64)
    for low in range(0, maps * tokens, _COLUMNS_AT_ONCE):
        part = columns[:, low : low + _COLUMNS_AT_ONCE]
        found = total[low : low + _COLUMNS_AT_ONCE]
        for j in range(1, frames):
            found += np.add.reduce(part[:j] > part[j], axis=0, dtype=small)
    return total.reshape(maps, tokens)


# -- the top frames -------------------------------------------------------------------------------


def topk_overlap(
    method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring, *, share: float
) -> Score:
    """Return the mean over tokens of the share of top frames that map and reference have in common.

    |top_k(E_i) and top_k(S_i)| / k, k = share * F rounded, at least 1. Frames equal at the threshold
    belong to the top in part: memberships m sum to k, and the intersection is sum min(m_E, m_S).
    Shapes: E, S [token, frame], all generated rows. Source: feature agreement, Krishna et al. 2022.
    """
    return judge_one(topk_overlap_of_many, method, reference, layout, scoring, share=share)


def topk_overlap_of_many(maps: Maps, reference: Maps, scoring: Scoring, *, share: float) -> Judged:
    """Return `topk-overlap` of every map."""
    return mean_over_tokens(_shared_top(maps, reference, share), constant_rows(maps, reference))


def topk_iou(
    method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring, *, share: float
) -> Score:
    """Return the mean over tokens of the intersection of the top frames over their union.

    sum min(m_E, m_S) / sum max(m_E, m_S) = o / (2 - o), o the token's `topk-overlap`.
    Shapes: E, S [token, frame], all generated rows. Source: Jaccard 1901.
    """
    return judge_one(topk_iou_of_many, method, reference, layout, scoring, share=share)


def topk_iou_of_many(maps: Maps, reference: Maps, scoring: Scoring, *, share: float) -> Judged:
    """Return `topk-iou` of every map."""
    overlap = _shared_top(maps, reference, share)
    return mean_over_tokens(overlap / (2 - overlap), constant_rows(maps, reference))


def top_count(share: float, frames: int) -> int:
    """Return k: this share of the frames, rounded half up, at least one and not all of them."""
    return min(max(1, int(share * frames + 0.5)), frames - 1)


def _shared_top(maps: Maps, reference: Maps, share: float) -> Float[np.ndarray, "map token"]:
    k = top_count(share, maps.frames)
    count = np.full((1, len(maps.content)), k)
    common = np.minimum(maps.top(count), reference.top(count)).sum(2) / k
    overlap: Float[np.ndarray, "map token"] = np.minimum(common, 1.0)
    return overlap


# -- frames labelled as relevant ------------------------------------------------------------------


def auroc(
    method: GridMap,
    reference: GridMap,
    layout: Layout,
    scoring: Scoring,
    *,
    labels: str,
    share: float,
    spans: Spans | None = None,
) -> Score:
    """Return the mean over tokens of the area under the ROC curve, labels from the reference or the words.

    AUROC_i = P(E_ij > E_ik) + P(E_ij = E_ik) / 2 for a relevant frame j and another one k.
    Relevant: with `labels=reference` the frames at or above the k-th highest of S_i, k = share * F
    rounded; with `labels=words` those that token i's word overlaps. Shapes: E, S [token, frame].
    Source: Hanley and McNeil 1982.
    """
    return judge_one(
        auroc_of_many, method, reference, layout, scoring, labels=labels, share=share, spans=spans
    )


def auroc_of_many(
    maps: Maps,
    reference: Maps,
    scoring: Scoring,
    *,
    labels: str,
    share: float,
    spans: Spans | None,
) -> Judged:
    """Return `auroc` of every map."""
    relevant, undefined = labelled(reference, labels, share, spans)
    count = relevant.sum(2)
    others = maps.frames - count
    above = np.vecdot(maps.ranks, relevant.astype(np.float64)) - count * (count + 1) / 2
    values = above / np.maximum(count * others, 1)
    return mean_over_tokens(values, {**undefined, "constant-map": maps.constant})


def auprc(
    method: GridMap,
    reference: GridMap,
    layout: Layout,
    scoring: Scoring,
    *,
    labels: str,
    share: float,
    spans: Spans | None = None,
) -> Score:
    """Return the mean over tokens of the average precision, labels as for `auroc`.

    AP_i = mean over relevant frames j of (relevant frames k with E_ik >= E_ij) / (frames k with
    E_ik >= E_ij), without interpolation, as in scikit-learn. Shapes: E, S [token, frame].
    Source: Davis and Goadrich 2006.
    """
    return judge_one(
        auprc_of_many, method, reference, layout, scoring, labels=labels, share=share, spans=spans
    )


def auprc_of_many(
    maps: Maps,
    reference: Maps,
    scoring: Scoring,
    *,
    labels: str,
    share: float,
    spans: Spans | None,
) -> Judged:
    """Return `auprc` of every map."""
    relevant, undefined = labelled(reference, labels, share, spans)
    count = relevant.sum(2)
    # The relevant frames of each token, in front; where another token has more, -1 fills up.
    chosen = np.argsort(~relevant, axis=2, kind="stable")[:, :, : max(1, int(count.max()))]
    filled = np.take_along_axis(relevant, chosen, axis=2)
    places = np.where(filled, np.take_along_axis(maps.first, chosen, axis=2), -1)
    places.sort(axis=2)
    first, _ = runs(places)
    precision = (places.shape[2] - first) / (maps.frames - places)
    values = np.where(places >= 0, precision, 0.0).sum(2) / np.maximum(count, 1)
    return mean_over_tokens(values, {**undefined, "constant-map": maps.constant})


def relevance_rank(
    method: GridMap,
    reference: GridMap,
    layout: Layout,
    scoring: Scoring,
    *,
    labels: str,
    share: float,
    spans: Spans | None = None,
) -> Score:
    """Return the mean over tokens of the share of the top frames that are relevant.

    |top_n(E_i) and R_i| / n with n = |R_i|, R_i the relevant frames, labels as for `auroc`; equal
    values at the threshold as in `topk-overlap`. Shapes: E, S [token, frame].
    Source: relevance rank accuracy, Arras et al. 2022 (CLEVR-XAI).
    """
    return judge_one(
        relevance_rank_of_many,
        method,
        reference,
        layout,
        scoring,
        labels=labels,
        share=share,
        spans=spans,
    )


def relevance_rank_of_many(
    maps: Maps,
    reference: Maps,
    scoring: Scoring,
    *,
    labels: str,
    share: float,
    spans: Spans | None,
) -> Judged:
    """Return `relevance-rank` of every map."""
    relevant, undefined = labelled(reference, labels, share, spans)
    count = np.maximum(relevant.sum(2), 1)
    values = np.vecdot(maps.top(count), relevant.astype(np.float64)) / count
    return mean_over_tokens(np.minimum(values, 1.0), {**undefined, "constant-map": maps.constant})


def labelled(
    reference: Maps, labels: str, share: float, spans: Spans | None
) -> tuple[Bool[np.ndarray, "1 token frame"], dict[str, Bool[np.ndarray, "1 token"]]]:
    """Return which frames are relevant to each content token, and which tokens have no labels.

    Reasons: `constant-reference`, or `no-word-time`; `one-class` where every frame is relevant.
    """
    if labels == "words":
        relevant = word_frames(reference, spans)[None]
        undefined = ("no-word-time", np.asarray(~relevant.any(2)))
    else:
        k = top_count(share, reference.frames)
        relevant = reference.rows >= reference.ascending[:, :, [reference.frames - k]]
        undefined = ("constant-reference", reference.constant)
    return relevant, dict([undefined, ("one-class", np.asarray(relevant.all(2)))])
