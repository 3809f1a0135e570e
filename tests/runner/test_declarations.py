"""No declaration of a method may move a score: what a description says of its maps is checked, not scored."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from xbench import registry
from xbench.maps import GridMap, Layout
from xbench.metrics.batch import Maps, score_all
from xbench.runner.plan import Method
from xbench.spec import Call, Scoring

ROWS, FRAMES = 6, 24
AXES = Layout(tuple(range(7)), tuple("abcdefg"), tuple(range(ROWS)), FRAMES, 2 * FRAMES, 2, 0.01)
SPANS = tuple((0.06 * i, 0.06 * i + 0.05) for i in range(7))
AGREEMENT = [d.name for d in registry.metrics.descriptions() if d.takes == "reference"]


@pytest.mark.parametrize("scoring", [Scoring(), Scoring(statistics="generated")])
@pytest.mark.parametrize("name", AGREEMENT)
def test_no_declaration_moves_a_score(name: str, scoring: Scoring) -> None:
    rng = np.random.default_rng(4)
    # Rows of a sum other than one, above a constant: what `distribution` used to decide about.
    values = rng.gamma(0.5, size=(7, FRAMES)) * rng.uniform(0.1, 9, size=(7, 1)) + 0.2
    against = Maps.of([GridMap(rng.gamma(0.5, size=(7, FRAMES)))], AXES)
    method = Method.registered(Call("mean-heads"))
    metric, call = registry.metrics.resolve(Call(name))
    found = set()
    for distribution, signed, kind, gradients in product(
        (False, True), (False, True), ("attention", "gradient", "control"), (False, True)
    ):
        declared = replace(
            method.description,
            distribution=distribution,
            signed=signed,
            kind=kind,
            uses_gradients=gradients,
        )
        grid = replace(method, description=declared).on_grid(values, AXES, scoring)
        maps = Maps.of([grid], AXES)
        found.add(score_all(metric, call.given, maps, against, scoring, SPANS).scores[0].value)
    assert len(found) == 1
    assert None not in found
