"""Agreement metrics that compare amounts: cosine, divergence, transport, and mass on relevant frames.

Rows are read as distributions over frames (`Maps.mass`), after the minimum of the row is subtracted, in maps and
references alike. In a reference that minimum is mostly the divergence under an average mask, which says nothing about
where; left in, it would make every reference look nearly uniform. All metrics here are means over the content
tokens that have a value.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr

from xbench.maps import GridMap, Layout
from xbench.metrics import Score
from xbench.metrics.batch import (
    Judged,
    Maps,
    Spans,
    constant_rows,
    judge_one,
    mean_over_tokens,
)
from xbench.metrics.ranking import labelled
from xbench.metrics.timing import peaks
from xbench.spec import Scoring


def cosine(method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring) -> Score:
    """Return the mean over tokens of the cosine of the two rows of mass, without centring.

    P_i . Q_i / (|P_i| |Q_i|), P and Q the mass of map and reference.
    Shapes: E, S [token, frame], all generated rows. Source: standard.
    """
    return judge_one(cosine_of_many, method, reference, layout, scoring)


def cosine_of_many(maps: Maps, reference: Maps, scoring: Scoring) -> Judged:
    """Return `cosine` of every map."""
    ours, theirs = maps.mass, reference.mass
    norm = np.sqrt(np.vecdot(ours, ours)) * np.sqrt(np.vecdot(theirs, theirs))
    values = np.vecdot(ours, theirs) / np.where(norm > 0, norm, 1.0)
    return mean_over_tokens(np.minimum(values, 1.0), constant_rows(maps, reference))


def js_divergence(method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring) -> Score:
    """Return the mean over tokens of the Jensen-Shannon divergence in bits.

    H((P_i + Q_i) / 2) - (H(P_i) + H(Q_i)) / 2 with H in base 2: 0 for equal rows, 1 for disjoint ones.
    Shapes: E, S [token, frame], all generated rows. Source: Lin 1991.
    """
    return judge_one(js_divergence_of_many, method, reference, layout, scoring)


def js_divergence_of_many(maps: Maps, reference: Maps, scoring: Scoring) -> Judged:
    """Return `js-divergence` of every map."""
    ours, theirs = maps.mass, reference.mass
    mixed = entr((ours + theirs) / 2).sum(2)
    values = (mixed - (entr(ours).sum(2) + entr(theirs).sum(2)) / 2) / np.log(2)
    return mean_over_tokens(np.clip(values, 0.0, 1.0), constant_rows(maps, reference))


def emd(method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring) -> Score:
    """Return the mean over tokens of the earth mover's distance along time, in seconds.

    d * sum over j of |sum over k <= j of (P_ik - Q_ik)|, d the duration of a frame: how far the mass of
    the map must move on average. Shapes: E, S [token, frame], all generated rows.
    Source: Rubner et al. 2000; the form in one dimension is Vallender's (1974).
    """
    return judge_one(emd_of_many, method, reference, layout, scoring)


def emd_of_many(maps: Maps, reference: Maps, scoring: Scoring) -> Judged:
    """Return `emd` of every map."""
    values = np.abs(maps.cumulative - reference.cumulative).sum(2) * maps.frame_seconds
    return mean_over_tokens(values, constant_rows(maps, reference))


def frontier_error(method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring) -> Score:
    """Return the mean distance in seconds between the highest frames of map and reference.

    |t(E_i) - t(S_i)| over content tokens, t the centre of the row's highest frame, the mean of equal ones.
    Shapes: E, S [token, frame], all generated rows. Source: ours; the highest frame is all that AlignAtt reads.
    """
    return judge_one(frontier_error_of_many, method, reference, layout, scoring)


def frontier_error_of_many(maps: Maps, reference: Maps, scoring: Scoring) -> Judged:
    """Return `frontier-error` of every map."""
    distance = np.abs(peaks(maps) - peaks(reference))
    return mean_over_tokens(distance, constant_rows(maps, reference))


def relevance_mass(
    method: GridMap,
    reference: GridMap,
    layout: Layout,
    scoring: Scoring,
    *,
    labels: str,
    share: float,
    spans: Spans | None = None,
) -> Score:
    """Return the mean over tokens of the share of the map's mass that lies on relevant frames.

    sum over relevant frames j of P_ij; labels as for `auroc`. Shapes: E, S [token, frame].
    Source: relevance mass accuracy, Arras et al. 2022 (CLEVR-XAI).
    """
    return judge_one(
        relevance_mass_of_many,
        method,
        reference,
        layout,
        scoring,
        labels=labels,
        share=share,
        spans=spans,
    )


def relevance_mass_of_many(
    maps: Maps,
    reference: Maps,
    scoring: Scoring,
    *,
    labels: str,
    share: float,
    spans: Spans | None,
) -> Judged:
    """Return `relevance-mass` of every map."""
    relevant, undefined = labelled(reference, labels, share, spans)
    values = np.vecdot(maps.mass, relevant.astype(np.float64))
    return mean_over_tokens(np.minimum(values, 1.0), {**undefined, "constant-map": maps.constant})
