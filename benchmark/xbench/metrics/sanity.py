"""Numbers that sanity gates judge: how alike two maps, or the rows of one map, are. Arithmetic, no model.

Gates are shown as pass, fail or not applicable and never averaged into a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from xbench.errors import UsageError, nearest
from xbench.maps import standardise

Rule = Literal["largest", "upper", "lower"]


@dataclass(frozen=True)
class Gate:
    """A sanity check: what is judged, and when it is passed.

    rule: `largest`: the largest value of an utterance is at most the threshold; `upper` (`lower`): the upper
    (lower) limit of the mean's interval lies below (above) it. threshold: None where it is computed from the data.
    """

    name: str
    summary: str
    source: str
    rule: Rule
    threshold: float | None
    version: str = "1"


_ADEBAYO = "Adebayo et al. 2018, arXiv 1810.03292"

GATES: tuple[Gate, ...] = (
    Gate(
        "determinism",
        "largest difference of two maps of the same case, relative to the largest relevance",
        "xbench",
        "largest",
        1e-5,
    ),
    Gate(
        "padding-leak",
        "1 - similarity of the maps with the padding as it is and with faint noise in it",
        "xbench",
        "upper",
        0.05,
    ),
    Gate(
        "token-specificity",
        "1 - mean similarity between the rows of one map",
        "xbench",
        "lower",
        0.1,
    ),
    Gate(
        "random-token",
        "similarity of the maps of a token and of another token in its place",
        "Sixt et al. 2020, arXiv 1912.09818",
        "upper",
        0.9,
    ),
    Gate(
        "max-sensitivity",
        "largest relative change of the map in 5 draws within 0.02 standard deviations of the input",
        "Yeh et al. 2019, arXiv 1901.09392",
        "upper",
        0.5,
    ),
    Gate(
        "convergence-delta",
        "|sum of the map - (f(x) - f(baseline))| / |f(x) - f(baseline)|, mean over tokens",
        "Sundararajan et al. 2017, arXiv 1703.01365",
        "upper",
        0.05,
    ),
    Gate(
        "mprt",
        "similarity of the maps of the model and of one with all layers randomised, top down; "
        "held against that of maps of other utterances",
        _ADEBAYO,
        "upper",
        None,
    ),
    Gate(
        "smooth-mprt",
        "the same, with each map averaged over 4 noisy inputs",
        "Hedstrom et al. 2024, arXiv 2401.06465",
        "upper",
        None,
    ),
)


def gates_named(names: tuple[str, ...]) -> tuple[Gate, ...]:
    """Return the gates of these names, or every one for `all`; raises UsageError."""
    known = {gate.name: gate for gate in GATES}
    for name in names:
        if name not in known and name != "all":
            raise UsageError(
                f"unknown gate '{name}'{nearest(name, known)}; there is all, {', '.join(known)}"
            )
    return tuple(gate for gate in GATES if "all" in names or gate.name in names)


def similarity(
    first: Float[np.ndarray, "token frame"], second: Float[np.ndarray, "token frame"]
) -> float | None:
    """Return the mean Pearson correlation of equal rows; None where no pair of rows varies."""
    (x, flat_x), (y, flat_y) = standardise(first, axis=1), standardise(second, axis=1)
    varies = ~flat_x & ~flat_y
    return float((x * y).mean(axis=1)[varies].mean()) if varies.any() else None


def specificity(values: Float[np.ndarray, "token frame"]) -> float | None:
    """Return 1 - mean Pearson correlation of all pairs of rows; None with fewer than 2 that vary."""
    z, constant = standardise(values, axis=1)
    z = z[~constant]
    if len(z) < 2:
        return None
    correlations = z @ z.T / z.shape[1]
    pairs = len(z) * (len(z) - 1)
    return float(1 - (correlations.sum() - np.trace(correlations)) / pairs)


def max_sensitivity(
    original: Float[np.ndarray, "*shape"], perturbed: Float[np.ndarray, "draw *shape"]
) -> float | None:
    """Return max over draws of ||E(x) - E(x')|| / ||E(x)||, Euclidean; None for an empty map."""
    norm = float(np.linalg.norm(original))
    changes = np.linalg.norm((perturbed - original[None]).reshape(len(perturbed), -1), axis=1)
    return float(changes.max()) / norm if norm > 0 else None


def largest_difference(
    first: Float[np.ndarray, "*shape"], second: Float[np.ndarray, "*shape"]
) -> float:
    """Return max |a - b| / max |a|, 0 where both are zero everywhere."""
    difference = float(np.abs(first - second).max())
    scale = float(np.abs(first).max())
    return difference / scale if scale > 0 else difference
