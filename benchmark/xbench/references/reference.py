"""What a reference saliency is to the rest of xbench, however it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

Relevance = Float[np.ndarray, "token frame"] | Float[np.ndarray, "token melframe mel"]


@dataclass(frozen=True)
class Facts:
    """What a result file says of how a reference of one utterance was made.

    masks: number of random masks in each half; (0, 0) where none were drawn. kept: [token], the share of masks under
    which the hypothesis token stayed the most likely one; None where that was not measured. neutral: the value that a
    hidden cell takes; None where no cell is hidden. converged: whether the reliability that was asked for was reached;
    None where none was asked for. computation: how the passes were run (`hiding.passes`).
    """

    masks: tuple[int, int] = (0, 0)
    kept: Float[np.ndarray, " token"] | None = None
    neutral: str | None = None
    converged: bool | None = None
    computation: Mapping[str, str | float | None] = field(default_factory=dict)


@runtime_checkable
class Reference(Protocol):
    """The relevance of every cell for every generated token: the map with which methods' maps are compared.

    A reference is stored as what `to_artefact` returns, and `ReferenceDescription.restore` names the function that
    makes it again from that.
    """

    def mean(self) -> Relevance:
        """Return the map: [token, frame], or [token, melframe, mel] where the description's space is `input`."""

    def halves(self) -> tuple[Relevance, Relevance] | None:
        """Return two independent estimates of the same map, from which reliability and ceilings follow.

        None where there is nothing to halve (human alignments, exact Shapley values): such a reference has neither
        reliability nor ceiling, hence no skill.
        """

    def facts(self) -> Facts:
        """Say how it was made."""

    def to_artefact(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return what is stored, so that it can be made again: arrays, and facts that JSON can hold."""
