"""The benchmarks can be imported, reports are made of what was measured, and the estimators of one are right.

They run too long to be run here.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xbench.hiding.segments import Segmentation

PERF = Path(__file__).parents[1] / "perf"


def test_every_benchmark_imports() -> None:
    names = sorted(path.stem for path in PERF.glob("*.py"))
    assert "reference_speed" in names
    names.sort(key="significance".__eq__)  # last: it takes the folder off the path
    code = f"import sys; sys.path.insert(0, {str(PERF)!r}); import {', '.join(names)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def of_reliability(module: Any, measured: Any) -> str:
    text: str = module.render([module.Curve(**curve) for curve in measured])
    text = text.replace("\n## ", "\n![Reliability against masks](reliability.png)\n\n## ", 1)
    return f"{text}\n{module.kept(PERF / 'reliability.md')}"


def of_presets(module: Any, measured: Any) -> str:
    found = [module.Utterance(**utterance) for utterance in measured]
    text: str = module.render(found, max(u.masks["paper"] for u in found))
    return text


REPORTS: dict[str, Callable[[Any, Any], str]] = {
    "ceilings": lambda module, measured: module.render(measured),
    "onsets": lambda module, measured: module.render(measured),
    "reliability": of_reliability,
    "fast_vs_paper": of_presets,
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_says_what_was_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the words and by the statistics of today, where these changed after the measurement."""
    monkeypatch.syspath_prepend(str(PERF))
    module = importlib.import_module(name)
    measured = json.loads((PERF / f"{name}.json").read_text("utf-8"))
    assert REPORTS[name](module, measured) == (PERF / f"{name}.md").read_text("utf-8")


@pytest.fixture
def surrogates(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(PERF))
    import surrogates as module

    return module


def test_every_surrogate_estimates_what_the_masked_mean_does(surrogates: Any) -> None:
    # 60 segments of 4 frames by 2 channels; the effect of a mask is the sum of the weights of what it hides.
    frames, channels, masks, p = 40, 12, 600, surrogates.P
    labels = (np.arange(frames)[:, None] // 4) * 6 + np.arange(channels) // 2
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=(2, 60))
    hidden = rng.random((masks, 60)) < p
    drawn = surrogates.Drawn(
        name="made up",
        case=SimpleNamespace(features=SimpleNamespace(melframe_seconds=0.01)),
        segmentation=Segmentation(labels[None].astype(np.int32), (60,)),
        level=np.zeros(masks, dtype=np.int64),
        hidden=hidden,
        effect=hidden @ weights.T,
    )
    exact = p * weights.sum(1, keepdims=True) + (1 - p) * weights
    dealt = surrogates.deal(drawn, masks, seed=0)
    counts = surrogates.counts(drawn, dealt)
    errors = {}
    for name, estimator in surrogates.ESTIMATORS.items():
        estimate = estimator(drawn, dealt).sum(0) / counts.sum(0)
        errors[name] = float(np.sqrt(np.mean((estimate - exact) ** 2)))
    plain = errors["masked mean"]
    assert plain < 4 * np.sqrt((weights**2).sum(1).max() * p * (1 - p) / (masks * p))
    # None is far from the truth, and the one that knows the effect's form is nearly free of noise.
    assert max(errors.values()) < 1.3 * plain
    assert errors["segments"] < plain / 3
