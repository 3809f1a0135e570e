"""Does hiding do what it should? Checked once per loaded model and way of running it, against the unmodified network.

Hiding runs through parts of a model that other packages own. When one of them changes, masks may do nothing, or
something else, without an error: a renamed keyword once made a decoder take frames for entries of the batch.
Divergences were then wrong by up to 12.9 nats, while a single pass with nothing hidden looked perfect. So several masks
run as one batch, and each is compared with what the network itself says of the changed cells:

    way(mask)  =  logits(encoder output with the masked cells at the neutral value)
"""

from __future__ import annotations

import math
import weakref
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import Tensor

from xbench.errors import XbenchError
from xbench.hiding.batching import batched_tensor, out_of_memory
from xbench.hiding.cells import Cells
from xbench.hiding.way import Way, way_in
from xbench.models.device import FLOAT32, Precision, lost
from xbench.models.protocol import SpeechModel

# From the identity of a loaded model to the names of its ways that have passed the check.
_trusted: dict[int, set[str]] = {}

# A way may differ by this share of the effect of hiding, where that is more than rounding explains.
_SHARE = 0.25


def trust(cells: Cells, way: Way) -> None:
    """Raise XbenchError where a way does not hide what its masks say; checked once per model and way."""
    model: SpeechModel = getattr(cells.case.model, "measured", cells.case.model)
    names = _trusted.get(id(model))
    if names is None:
        names = _trusted[id(model)] = set()
        weakref.finalize(model, _trusted.pop, id(model), None)
    if way.name in names:
        return
    difference, allowed = _difference(_unmetered(cells, model), way.precision)
    if not math.isfinite(allowed):
        return  # the logits of this clip are not finite: the fault of the clip, reported where it is measured
    if difference > allowed:
        raise XbenchError(
            f"model '{model.info.name}': hiding {'frames' if cells.space == 'encoder' else 'cells'} in it does not "
            f"give what the model itself says of the changed input (logits differ by {difference:.3g}, rounding allows "
            f"{allowed:.3g}), so no reference or intervention would be right; the installed transformers "
            f"{version('transformers')} may have changed what xbench relies on: install the tested versions"
        )
    names.add(way.name)


def _unmetered(cells: Cells, model: SpeechModel) -> Cells:
    """Return the same cells of the model without its counter: passes of this check are no cost of the utterance."""
    return replace(cells, case=replace(cells.case, model=model))


@torch.inference_mode()
def _difference(cells: Cells, precision: Precision) -> tuple[float, float]:
    """Return by how much logits differ at most over the masks, and how much rounding explains."""
    way = way_in(cells, precision)
    assert way is not None  # the same model has just run in it
    masks = _masks(cells)
    with FLOAT32.products():
        expected = torch.cat([cells.whole(mask[None]) for mask in masks]).float()
    largest, eps = float(expected.abs().max()), precision.eps
    effect = float((expected - cells.clean.logits).abs().max())
    # Allowed: the rounding of whole logits, but at most a share of what hiding changes, so that doing nothing fails;
    # and never less than the rounding that no way can avoid.
    least = max(torch.finfo(torch.float32).eps ** 0.5, 4 * eps) * largest
    allowed = max(least, min(eps**0.5 * largest, _SHARE * effect))
    # In one batch where memory allows it, since a wrong mask may depend on its neighbours.
    passes = batched_tensor(lambda hidden: way.logits(way.perturbed(hidden)), len(masks))
    try:
        found = passes(masks)
    except (RuntimeError, TypeError, ValueError) as problem:
        if lost(problem) or out_of_memory(problem):
            raise
        # Masks that the model can no longer take are as useless as masks that do nothing.
        return math.inf, allowed
    difference = float((found - expected).abs().max())
    return (math.inf if math.isnan(difference) else difference), allowed


def _masks(cells: Cells) -> Tensor:
    """Return four masks: nothing hidden, the first half, the second half, every other position."""
    hidden = torch.zeros(4, *cells.shape, dtype=torch.bool, device=cells.values.device)
    middle = -(-cells.shape[0] // 2)
    hidden[1, :middle] = True
    hidden[2, middle:] = True
    hidden[3, ::2] = True
    return hidden
