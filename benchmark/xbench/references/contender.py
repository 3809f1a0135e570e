"""SPES as a contender: the estimator of the reference used as a method, with masks that no reference ever draws.

The score of a contender is what a second, independent estimate of the reference gets: a ceiling that is measured. For
that its masks must differ from those of every reference. Masks follow from (seed, utterance key). References use the
audio's SHA-256 as key, 64 hexadecimal digits; a contender puts `contender:` before it. So the texts that are hashed
into Philox keys differ for all seeds, and the random streams of different keys are unrelated.

Sources: as `xbench.references.spes`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.case import Case
from xbench.references import spes
from xbench.references.estimation import Sampling


def spes_encoder(case: Case, *, masks: int, p: float, seed: int) -> Float[Tensor, "token frame"]:
    """Return a `spes-encoder` map from its own masks."""
    reference = spes.spes_encoder(disjoint(case), Sampling(seed), masks=masks, p=p)
    return torch.from_numpy(reference.mean()).float()


def spes_input(
    case: Case,
    *,
    masks: int,
    p: float,
    rates: str,
    compactness: float,
    sigma: float,
    cap_seconds: float,
    seed: int,
) -> Float[Tensor, "token melframe mel"]:
    """Return a `spes-input` map from its own masks."""
    reference = spes.spes_input(
        disjoint(case),
        Sampling(seed),
        masks=masks,
        p=p,
        rates=rates,
        compactness=compactness,
        sigma=sigma,
        cap_seconds=cap_seconds,
    )
    return torch.from_numpy(reference.mean()).float()


def disjoint(case: Case) -> Case:
    """Return the case under a key that no reference uses."""
    return replace(case, key=f"contender:{case.key}")
