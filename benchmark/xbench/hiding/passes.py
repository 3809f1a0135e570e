"""How the perturbed passes of a reference are run: precision, padding and batch size, each checked and recorded.

Facts of a computation, stored with the reference:

    precision         float32 or bfloat16: what the perturbed passes ran in (the clean pass keeps the model's own)
    precision_reason  requested, check-passed, check-failed, slow-here (no bfloat16 hardware), no-twin
    precision_check   lowest correlation of a content token's divergence with the exact one, same masks
    padding           exact or frozen; padding_reason, padding_check likewise
    batch_size        masks per pass at the end, after any back-off
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xbench.case import Case
from xbench.hiding import checks
from xbench.hiding.batching import Batched, starting_size
from xbench.hiding.effect import Measure, Perturbed, against, against_states
from xbench.hiding.masks import mask_key
from xbench.hiding.precision import bfloat16_is_fast
from xbench.hiding.segments import Segmentation
from xbench.hiding.twin import Twin, twin
from xbench.models.protocol import SpeechModel
from xbench.references.estimation import Sampling

# One way to run passes: a model (or its twin) and its precision, to hidden cells -> what its `logits` give.
Build = Callable[[SpeechModel, torch.dtype], Perturbed]


@dataclass(frozen=True)
class Plan:
    """What a reference asks of its passes.

    clean: logits of the clean pass. rows: positions that one mask takes through the network.
    """

    case: Case
    sampling: Sampling
    segmentation: Segmentation
    p: float
    clean: Float[Tensor, "token vocab"]
    rows: int

    def measure(self, build: Build, dtype: torch.dtype) -> Batched | None:
        """Return passes in this precision; None where the model cannot run them in it."""
        found = _measure(self, build, dtype)
        if found is None:
            return None
        size = self.sampling.batch_size or starting_size(self.clean.device, self.rows)
        return Batched(found, size)

    def agreement(self, exact: Measure, fast: Measure) -> float | None:
        """Compare two ways on masks that the reference itself does not draw."""
        key = mask_key(self.sampling.seed, f"check:{self.case.key}")
        hidden = checks.check_masks(self.segmentation, key, self.p, self.clean.device)
        return checks.lowest_agreement(exact, fast, hidden, self.case.hypothesis.content)


@dataclass(frozen=True)
class Chosen:
    """Passes that were chosen, and the facts to record."""

    measure: Batched
    dtype: torch.dtype
    facts: dict[str, str | float | None]


def choose_precision(plan: Plan, build: Build, requested: str) -> Chosen:
    """Return passes in the requested precision; `auto`: bfloat16 where it is fast and the check passes."""
    own = getattr(torch, plan.case.model.info.precision)
    wanted = own if requested == "auto" else getattr(torch, requested)
    measure = plan.measure(build, wanted)
    if measure is None:
        measure = plan.measure(build, own)
        assert measure is not None
        return _chosen(measure, own, "no-twin", None)
    if requested != "auto" or own != torch.float32:
        return _chosen(measure, wanted, "requested", None)
    if not bfloat16_is_fast(plan.case.model.info.device):
        return _chosen(measure, own, "slow-here", None)
    fast = plan.measure(build, torch.bfloat16)
    if fast is None:
        return _chosen(measure, own, "no-twin", None)
    check = plan.agreement(measure, fast)
    if check is not None and check >= checks.PRECISION:
        return _chosen(fast, torch.bfloat16, "check-passed", check)
    return _chosen(measure, own, "check-failed", check)


def _chosen(measure: Batched, dtype: torch.dtype, reason: str, check: float | None) -> Chosen:
    name = str(dtype).removeprefix("torch.")
    return Chosen(
        measure,
        dtype,
        {"precision": name, "precision_reason": reason, "precision_check": check},
    )


def choose_padding(plan: Plan, exact: Chosen, frozen: Build | None) -> Chosen:
    """Return passes over frozen padding where the check against the exact ones passes, else the exact ones."""

    def facts(padding: str, reason: str, check: float | None) -> dict[str, str | float | None]:
        return exact.facts | {
            "padding": padding,
            "padding_reason": reason,
            "padding_check": check,
        }

    valid = replace(plan, rows=plan.case.features.frames)
    measure = frozen and valid.measure(frozen, exact.dtype)
    if measure is None:
        return Chosen(exact.measure, exact.dtype, facts("exact", "no-padding", None))
    check = plan.agreement(exact.measure, measure)
    if check is not None and check >= checks.PADDING:
        return Chosen(measure, exact.dtype, facts("frozen", "check-passed", check))
    return Chosen(exact.measure, exact.dtype, facts("exact", "check-failed", check))


def _measure(plan: Plan, build: Build, dtype: torch.dtype) -> Measure | None:
    model, clean = plan.case.model, plan.clean
    tokens = torch.tensor(plan.case.hypothesis.tokens, device=clean.device)
    found = twin(model, dtype)
    if found is not None:
        with found.clean_pass() as products:
            perturbed = build(found.model, dtype)
            states = perturbed(_nothing(plan))[0]
        if _gives(found, states, clean):
            changed = found.beside(products, perturbed)
            return against_states(clean, states, found.embeddings, tokens, changed)
    if dtype != getattr(torch, model.info.precision):
        return None
    return against(clean, tokens, build(model, dtype))


def _nothing(plan: Plan) -> Bool[Tensor, "1 *cells"]:
    cells = plan.segmentation.labels.shape[1:]
    return torch.zeros(1, *cells, dtype=torch.bool, device=plan.clean.device)


def _gives(
    found: Twin, states: Float[Tensor, "token dim"], clean: Float[Tensor, "token vocab"]
) -> bool:
    """Say whether logits are these states times the output embeddings, to the precision of the passes."""
    if states.shape[-1] != found.embeddings.shape[1]:
        return False
    logits = states.float() @ found.embeddings.float().T
    if found.bias is not None:
        logits += found.bias.float()
    allowed = torch.finfo(found.dtype).eps ** 0.5 * clean.abs().max()
    return bool((logits - clean).abs().max() <= allowed)
