"""Was a stored reference measured? Draws a few of its blocks of masks again, measures them and compares.

Masks follow from seed, clip and number alone, so any block can be measured again by itself, in seconds. A reference
holds the sum of the effects of each of its blocks, per token. Blocks to measure are drawn at random, by nothing that
whoever made the reference could know. If a share f of the blocks was made up, n blocks miss all of them with a
probability of (1 - f)^n. A sum may differ from the stored one by what rounding explains:

    |again - stored|  <=  max(2 eps, 1/2000) (|stored| + mean over tokens of |stored|)   eps: of the recorded precision

In float32 two blocks of one reference differ by far more than that. In bfloat16 they may not: there a block that was
copied from another can pass.

This shows that passes were made, over these masks, of this model on this clip. Whether the result belongs to these
references its columns tell: masks and mean effects per token must be those of the reference. That its scores follow
from maps and references is another question: `verify --scores` makes them again without a model.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from xbench import registry
from xbench.case import Case
from xbench.errors import UsageError
from xbench.hiding.effect import Shift
from xbench.models.device import PRECISIONS, precision_of
from xbench.references.blocks import Facts, Superseded, Unit, Unkept
from xbench.references.estimation import Sampling
from xbench.references.sampled import SampledReference
from xbench.runner import compare, stages
from xbench.runner.bench import Bench
from xbench.runner.keys import Job, Spoken, reference_key
from xbench.runner.plan import Plan
from xbench.runner.progress import Reporter
from xbench.spec import Call

# Machines differ by more than float32 rounds once.
_LEAST = 5e-4
# A pack keeps estimates in 16 bits.
_OF_PACKS = 1e-3

Columns = Mapping[str, Sequence[Any]]  # the utterance columns of a result


@dataclass(frozen=True)
class Drawn:
    """One block of one reference of one utterance: how far it lies from the stored one, as a share of what is allowed.

    block: its number; None: the reference as a whole is not the one of which the result tells. masks: of a block.
    furthest: of its tokens.
    """

    id: str
    reference: str
    block: int | None
    masks: int
    furthest: float

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference."""
        return self.furthest <= 1.0


def draw_again(
    plan: Plan, bench: Bench, blocks: int, reporter: Reporter, stated: Columns
) -> list[Drawn]:
    """Measure so many blocks of every stored reference of a plan's utterances again, and compare.

    stated: the utterance columns of the result, which must be of the same references.
    Raises UsageError where the store has no reference to compare with, or one without sums of blocks.
    """
    chance = np.random.default_rng()  # never of a seed that is known before
    drawn = []
    for of_task in plan.tasks:
        task, jobs = of_task.task, of_task.manifest.utterances
        title = f"{task.name}: blocks"
        with reporter.stage(title, len(jobs) * len(task.references)) as progress:
            for utterance in jobs:
                job = Job(task, utterance, plan.spec.seed)
                spoken = Spoken(job, stages.decode_once(bench.model, job))
                for call in task.references if not spoken.decoded.unexplained else ():
                    if not compare.unsupported_reference(bench.info, call.name):
                        drawn += _of_reference(bench, spoken, call, blocks, chance, stated)
                    progress(1)
    return drawn


def blocks_of(stated: Columns, drawn: Sequence[Drawn]) -> int:
    """Return how many blocks all references of a result have, by its columns."""
    sizes = {row.reference: row.masks for row in drawn}
    counts = [(size, stated.get(f"masks@{name}", ())) for name, size in sizes.items()]
    return sum(-(-masks // size) for size, column in counts for masks in column if masks)


def _of_reference(
    bench: Bench,
    spoken: Spoken,
    call: Call,
    blocks: int,
    chance: np.random.Generator,
    stated: Columns,
) -> list[Drawn]:
    id_ = spoken.job.utterance.id
    stored = bench.store.get(reference_key(bench.info, spoken, call))
    if stored is None:
        raise UsageError(
            f"{id_}: the store {bench.store.folder.name} has no {call.name} of it under this model, hypothesis and "
            "device; give the store of the run with --cache, or leave --blocks out"
        )
    reference = compare.read_reference(call, stored)
    if (
        not isinstance(reference, SampledReference)
        or reference.block_sums is None
        or "precision" not in reference.computation
    ):
        raise UsageError(
            f"{id_}: the stored {call.name} keeps no sums of blocks (it draws no masks, or was made by an earlier "
            "version); leave --blocks out, which runs whole utterances again"
        )
    sums, masks = reference.block_sums, reference.block
    assert masks is not None
    if not told_of(stated, spoken, call, reference):
        return [Drawn(id_, call.name, None, masks, math.inf)]
    wanted = chance.choice(len(sums), size=min(blocks, len(sums)), replace=False).tolist()
    again = measured_again(bench, spoken, call, reference, wanted)
    return [
        Drawn(id_, call.name, number, masks, furthest(again[number], sums[number], reference))
        for number in sorted(wanted)
    ]


def told_of(stated: Columns, spoken: Spoken, call: Call, reference: SampledReference) -> bool:
    """Say whether the columns of a result are of this reference: its masks, and the mean effect of each token."""
    row = stated["id"].index(spoken.job.utterance.id)
    if stated[f"masks@{call.name}"][row] != sum(reference.masks):
        return False
    effects = stated.get(f"effect@{call.name}")
    if effects is None:  # a file of an older version
        return True
    own = np.asarray(compare.token_effects(reference.mean(), spoken.decoded.layout))
    given = np.asarray(effects[row] or (), dtype=np.float64)
    return own.shape == given.shape and bool(
        np.allclose(own, given, rtol=_OF_PACKS, atol=_OF_PACKS * np.abs(own).max(initial=0.0))
    )


def furthest(
    again: Float[np.ndarray, " token"],
    stored: Float[np.ndarray, " token"],
    reference: SampledReference,
) -> float:
    """Return the largest difference of a token's sums, as a share of what rounding explains."""
    name = str(reference.computation["precision"])
    precision = PRECISIONS.get(name) or precision_of(getattr(torch, name))
    size = np.abs(stored)
    allowed = max(2 * precision.eps, _LEAST) * (size + size.mean())
    difference = np.abs(again - stored)
    shares = np.divide(difference, allowed, out=np.zeros_like(difference), where=difference != 0)
    return float(np.nan_to_num(shares, nan=np.inf).max())


def measured_again(
    bench: Bench,
    spoken: Spoken,
    call: Call,
    reference: SampledReference,
    wanted: Sequence[int],
) -> dict[int, Float[np.ndarray, " token"]]:
    """Return the sums of effects of some blocks of a reference, measured now in the way that it records."""
    assert reference.block is not None
    features, _ = stages.read_features(bench.model, spoken.job.utterance)
    job, hypothesis = spoken.job, spoken.decoded.hypothesis
    case = Case(bench.model, features, hypothesis, job.utterance.audio_sha256, words=job.words)
    only = _Only(reference, frozenset(number * reference.block for number in wanted))
    sampling = Sampling(
        spoken.job.seed, bench.batch_size, scoring=spoken.job.task.scoring, blocks=only
    )
    # The same masks whatever is estimated from them; the plainest estimator has nothing to do for all other blocks.
    given = {**call.given, "masks": sum(reference.masks)}
    given.pop("until", None)
    if "estimator" in given:
        given["estimator"] = "masked-mean"
    with contextlib.suppress(Superseded):
        registry.references.get(call.name).load()(case, sampling, **given)
    return {first // reference.block: sums for first, sums in only.found.items()}


@dataclass
class _Only(Unkept):
    """Asks for some blocks only: for all others it has effects already, which are nothing."""

    reference: SampledReference
    firsts: frozenset[int]
    found: dict[int, Float[np.ndarray, " token"]] = field(default_factory=dict)

    def choice(self, part: str) -> Facts | None:
        """Return how the passes of the stored reference were run."""
        return self.reference.computation

    def get(self, part: str, unit: Unit) -> Shift | None:
        """Return nothing for units that are asked for, zeros for others."""
        if any(unit.first + rows.start in self.firsts for rows in unit.blocks):
            return None
        zeros = torch.zeros(unit.masks, self.reference.sums.shape[1])
        return Shift(zeros, zeros > 0)

    def measured(self, part: str, unit: Unit, shift: Shift, *, keep: bool) -> None:
        """Add up the blocks that are asked for."""
        for rows in unit.blocks:
            first = unit.first + rows.start
            if first in self.firsts:
                self.found[first] = shift.value[rows].double().sum(0).cpu().numpy()

    def superseded(self) -> bool:
        """Stop once all blocks that are asked for are measured."""
        return self.found.keys() == self.firsts
