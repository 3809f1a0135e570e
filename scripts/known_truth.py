"""The references and methods that are tried on clips whose truth is known (`phone_hits.py`, `spliced_noise.py`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xbench.case import Case
from xbench.methods.compute import compute_map
from xbench.references.drop import spes_encoder_drop
from xbench.references.estimation import Sampling
from xbench.references.spes import spes_encoder
from xbench.runner.plan import Method
from xbench.spec import Scoring

METHODS = ("mean-heads", "value-norm-resln", "chefer", "energy", "diagonal:width=0.2")
MASKS = 2000


def needs() -> frozenset[str]:
    """Return what the methods need of a trace."""
    return frozenset[str]().union(*(Method.of(name).description.needs for name in METHODS))


def maps(case: Case) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the content rows of every reference and method: [token, frame]."""
    content = list(case.hypothesis.content)
    for name, estimate in (
        ("spes-encoder", spes_encoder),
        ("spes-encoder-drop", spes_encoder_drop),
    ):
        yield name, np.asarray(estimate(case, Sampling(), masks=MASKS, p=0.7).mean())[content]
    for name in METHODS:
        method = Method.of(name)
        values = compute_map(method.description, method.call, case)
        yield name, method.on_grid(values, case.layout, Scoring()).values[content]
