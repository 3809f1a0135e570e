"""Where the time of a reference goes: shares of one whole reference of the preset `fast`, by kind of operation.

    python perf/reference_time.py        writes perf/reference_time.md and perf/reference_time.json

Shares are of the profiler's time within functions (cProfile; what it costs itself falls on Python's share). It
explains the times to reliability in perf/reference_speed.md.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.references.estimation import Sampling
from xbench.tasks import load_task

sys.path.insert(0, str(Path(__file__).parent))
from subjects import subjects

HERE = Path(__file__).parent
CASES = (
    ("xbench-tiny", 0, "spes-encoder"),
    ("whisper-micro", 1, "spes-encoder"),
    ("xbench-tiny", 0, "spes-input"),
    ("whisper-micro", 1, "spes-input"),
)
# In their order the first that matches a function, written file:name, takes its time.
KINDS = (
    ("vocabulary", ("divergence.py",)),
    ("statistics", ("estimators.py", "reliability.py", "linalg", "cholesky", "method 'mm'")),
    ("attention", ("masked_attention.py", "bmm", "exp2_'", "softmax", "scaled_dot_product")),
    # conv2d: as `hiding.twin` runs linear layers of an encoder; these models have no other.
    ("linear layers", ("linear", "addmm", "conv2d")),
    ("convolutions", ("conv1d",)),
    ("norms and activations", ("layer_norm", "gelu", "relu")),
    ("casts and copies", ("method 'to'", "cat}", "contiguous", "copy", "clone", "repeat")),
    ("masks", ("masks.py", "stack", "where", "spes.py")),
)
_REST = "the rest: residual sums, Python"


@dataclass(frozen=True)
class Shares:
    """One reference: its masks, its seconds under the profiler, and the share of every kind."""

    model: str
    clip: str
    reference: str
    masks: int
    profiled_seconds: float
    shares: dict[str, float]


Function = tuple[str, int, str]


def kind(function: Function) -> str | None:
    """Return what a function of the profiler counts for, if its name says so."""
    name = f"{Path(function[0]).name}:{function[2]}"
    return next((k for k, parts in KINDS if any(part in name for part in parts)), None)


def shares_of(profile: cProfile.Profile) -> tuple[float, dict[str, float]]:
    """Return all seconds and the share of every kind; a built-in without a kind takes that of its caller."""
    spent = dict.fromkeys((*(k for k, _ in KINDS), _REST), 0.0)
    stats: dict[Function, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for function, (_, _, own, _, callers) in stats.items():
        known = kind(function)
        if known or function[0] != "~":
            spent[known or _REST] += own
            continue
        for caller, (_, _, seconds, _) in callers.items():
            spent[kind(caller) or _REST] += seconds
    total = sum(spent.values())
    return total, {name: seconds / total for name, seconds in spent.items()}


def measured(model: str, clip: int, reference: str) -> Shares | None:
    """Profile one reference; None where the model is not there."""
    found = list(subjects(model, clip + 1))
    if not found:
        return None
    subject, task = found[-1], load_task("asr", "fast")
    call = next(c for c in task.references if c.name == reference)
    make = registry.references.get(reference).load()
    options = call.given
    # As in a run, where an utterance before this one has made the twin of the model.
    make(subject.case, Sampling(scoring=task.scoring), **{**options, "masks": 64})
    profile = cProfile.Profile()
    profile.enable()
    made = make(subject.case, Sampling(scoring=task.scoring), **options)
    profile.disable()
    total, shares = shares_of(profile)
    return Shares(model, subject.clip, reference, sum(made.masks), total, shares)


def render(found: list[Shares]) -> str:
    """Return the report as Markdown."""
    columns = [f"{s.reference}, {s.model}, {s.clip}" for s in found]
    lines = [
        "# Where the time of a reference goes",
        "",
        "Made by `python perf/reference_time.py`: whole references of `fast` under the profiler; per cent of its time.",
        "",
        f"| | {' | '.join(columns)} |",
        "|---|" + "---|" * len(found),
        f"| masks | {' | '.join(f'{s.masks:,}' for s in found)} |",
        f"| profiled, ms per mask | {' | '.join(f'{1e3 * s.profiled_seconds / s.masks:.2f}' for s in found)} |",
    ]
    for name in found[0].shares:
        lines.append(f"| {name} | {' | '.join(f'{100 * s.shares[name]:.0f}' for s in found)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Profile all cases and write the report."""
    found = [shares for case in CASES if (shares := measured(*case)) is not None]
    text = render(found)
    print(text)
    (HERE / "reference_time.md").write_text(text)
    (HERE / "reference_time.json").write_text(
        json.dumps([asdict(s) for s in found], indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
