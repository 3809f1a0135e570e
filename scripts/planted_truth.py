"""What references and methods recover of evidence that is known by construction.

    python scripts/planted_truth.py        prints two Markdown tables (docs/validity.md holds them); a minute of a core

The model is `xbench.testing.planted.Planted` with one token for each kind of evidence. Where a token has evidence in
the valid frames, a cell says which share of these frames is among as many highest ones of the row (1: all found; equal
values share a place). Where it has none, the right answer is a row that is constant, so that no metric takes it for a
statement about where: `silent` says that it is, else the cell names how much of the row's mass its highest frame holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xbench.case import Case
from xbench.maps import CONSTANT, on_encoder_grid
from xbench.methods.compute import compute_map
from xbench.references.drop import spes_encoder_drop
from xbench.references.estimation import Sampling
from xbench.references.spes import spes_encoder, spes_input
from xbench.runner.plan import Method
from xbench.spec import Decoding, Scoring
from xbench.testing.planted import RATE, Planted

MODEL = Planted(
    frames=((11,), (6, 21), (15, 28), (), ()),
    evidence=("all", "all", "any", "padding", "previous"),
    total=36,
    gain=6.0,
)
CASES = ("single", "two frames together", "redundant", "padding", "text")

METHODS = (
    "mean-heads",
    "saliency-encoder",
    "input-x-gradient-encoder",
    "smoothgrad-encoder",
    "integrated-gradients-encoder",
    "gradient-shap-encoder",
    "feature-ablation-encoder:segments=36",
    "occlusion-encoder:window=1,step=1",
    "rise-encoder:cell=1",
    "lime-encoder:segments=36",
    "kernel-shap-encoder:segments=36",
    "saliency",
    "integrated-gradients",
    "feature-ablation",
    "rise:cell=2",
    "energy",
    "diagonal",
)


def planted_case() -> Case:
    """Return the traced case of the model."""
    features = MODEL.features(np.zeros(RATE, dtype=np.float32))
    hypothesis = MODEL.decode(features, "en", None, Decoding())
    return Case(MODEL, features, hypothesis, "planted", MODEL.trace(features, hypothesis, set()))


def references(case: Case) -> dict[str, np.ndarray]:
    """Return the map of every reference on encoder frames."""
    options = {"rates": "200+300+400", "compactness": 0.1, "sigma": 0.0, "cap_seconds": 7.5}
    heard = spes_input(case, Sampling(), masks=6000, p=0.5, precision="float32", **options)
    found = {
        f"{name}, p = {p}": estimate(case, Sampling(), masks=4000, p=p).mean()
        for name, estimate in (
            ("spes-encoder", spes_encoder),
            ("spes-encoder-drop", spes_encoder_drop),
        )
        for p in (0.5, 0.7)
    }
    found["spes-input, p = 0.5"] = on_encoder_grid(heard.mean(), case.layout, Scoring()).values
    return found


def methods(case: Case) -> dict[str, np.ndarray]:
    """Return the map of every method on encoder frames, absolute where it is signed."""
    found = {}
    for name in METHODS:
        method = Method.of(name)
        values = compute_map(method.description, method.call, case)
        found[name] = method.on_grid(values, case.layout, Scoring()).values
    return found


def cell(row: np.ndarray, evidence: Sequence[int]) -> str:
    """Say what a row recovers of the evidence, or what it claims where there is none."""
    if row.std() <= CONSTANT * np.abs(row).mean() or row.std() < 1e-7:
        return "silent" if not evidence else "nothing"
    if not evidence:
        mass = row - row.min()
        return f"{mass.max() / mass.sum():.2f} on frame {int(row.argmax())}"
    threshold = np.sort(row)[-len(evidence)]
    above, at = row > threshold, row == threshold
    own = np.isin(np.arange(len(row)), evidence)
    share = (own & above).sum() + (own & at).sum() * (len(evidence) - above.sum()) / at.sum()
    return f"{share / len(evidence):.2f}"


def table(maps: dict[str, np.ndarray], head: str) -> str:
    """Write one row per map, one column per case."""
    lines = [f"| {head} | " + " | ".join(CASES) + " |", "|---" * (len(CASES) + 1) + "|"]
    for name, values in maps.items():
        cells = [cell(row, frames) for row, frames in zip(values, MODEL.frames, strict=True)]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print both tables."""
    made: tuple[tuple[str, Callable[[Case], dict[str, np.ndarray]]], ...] = (
        ("reference", references),
        ("method", methods),
    )
    for head, maps_of in made:
        print(table(maps_of(planted_case()), head), end="\n\n")


if __name__ == "__main__":
    main()
