"""Do the presets `fast` and `paper` say the same? Two references from disjoint masks, and all methods under both.

    python perf/fast_vs_paper.py               writes perf/fast_vs_paper.md and .json
    python perf/fast_vs_paper.py --quick       two clips, 2,000 masks for `paper`: a look, nothing is written

`fast` draws its masks under seed 0, `paper` under seed 1. Two noisy references of one truth correlate by
sqrt(reliability_fast x reliability_paper) if nothing but mask sampling parts them; that is the ceiling here.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from xbench import registry, stats
from xbench.description import MethodDescription
from xbench.errors import XbenchError
from xbench.maps import GridMap, on_encoder_grid, standardise
from xbench.methods.compute import compute_map
from xbench.metrics.agreement import pearson, pearson_paper
from xbench.references.estimation import Sampling, as_used
from xbench.references.sampled import SampledReference
from xbench.results import RELIABLE_ROW
from xbench.runner.plan import Method
from xbench.spec import Call, TaskSpec
from xbench.tasks import load_task

sys.path.insert(0, str(Path(__file__).parent))
from subjects import MODELS, Subject, subjects

HERE = Path(__file__).parent
PRESETS = {"fast": 0, "paper": 1}
METRICS = {"pearson": pearson, "pearson-paper": pearson_paper}
# They take what a clip alone does not have: a partner, word times, a dev split; or choose a head.
_NOT_ALONE = frozenset({"words", "partner"})


@dataclass
class Utterance:
    """What one utterance says about one reference under both presets.

    correlation: mean over content tokens of the correlation of the two maps as used. scores: method to
    metric to preset; `reliable` are the scores over tokens whose `fast` row is reliable. versions: of the metrics.
    """

    model: str
    clip: str
    reference: str
    tokens: int
    masks: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reliability: dict[str, float | None] = field(default_factory=dict)
    converged: bool | None = None
    correlation: float = math.nan
    unreliable_rows: int = 0
    scores: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)
    versions: dict[str, str] = field(
        default_factory=lambda: {name: registry.metrics.get(name).version for name in METRICS}
    )

    @property
    def ceiling(self) -> float | None:
        """sqrt(reliability_fast x reliability_paper)."""
        fast, paper = self.reliability["fast"], self.reliability["paper"]
        return math.sqrt(max(0.0, fast) * max(0.0, paper)) if fast and paper else None


def presets(masks: int | None) -> dict[str, TaskSpec]:
    """Return the task that speech recognition starts from under both presets."""
    tasks = {name: load_task("asr", name) for name in PRESETS}
    if masks is not None:
        calls = tuple(call.with_params(masks=masks) for call in tasks["paper"].references)
        tasks["paper"] = replace(tasks["paper"], references=calls)
    return tasks


def references(
    subject: Subject, name: str, tasks: dict[str, TaskSpec], found: Utterance
) -> dict[str, SampledReference]:
    """Make one reference under both presets and note what it took."""
    made = {}
    for preset, seed in PRESETS.items():
        task = tasks[preset]
        call = next(c for c in task.references if c.name == name)
        started = time.perf_counter()
        sampling = Sampling(seed, scoring=task.scoring)
        reference = registry.references.get(name).load()(subject.case, sampling, **call.given)
        found.seconds[preset] = time.perf_counter() - started
        found.masks[preset] = sum(reference.masks)
        made[preset] = reference
    found.converged = made["fast"].converged
    return made


def compare(
    subject: Subject, name: str, tasks: dict[str, TaskSpec], maps: dict[str, GridMap]
) -> Utterance:
    """Return how the two references of one utterance agree, and all scores under both."""
    axes, scoring = subject.case.layout, tasks["fast"].scoring
    found = Utterance(subject.model, subject.clip, name, len(axes.content))
    made = references(subject, name, tasks, found)
    grids, rows = {}, {}
    for preset, reference in made.items():
        judged = as_used(reference, axes, scoring)
        found.reliability[preset], rows[preset] = judged.value, judged.rows
        grids[preset] = on_encoder_grid(reference.mean(), axes, scoring)
    content = list(axes.content)
    z = [standardise(grid.values[content], axis=1)[0] for grid in grids.values()]
    found.correlation = float((z[0] * z[1]).mean())

    reliable = tuple(
        row
        for row, value in zip(axes.content, rows["fast"], strict=True)
        if value is not None and value >= RELIABLE_ROW
    )
    found.unreliable_rows = len(axes.content) - len(reliable)
    over = {"fast": axes, "paper": axes, "reliable": replace(axes, content=reliable)}
    for method, grid in maps.items():
        found.scores[method] = {
            metric: {
                which: compute(
                    grid, grids["paper" if which == "paper" else "fast"], layout, scoring
                ).value
                for which, layout in over.items()
            }
            for metric, compute in METRICS.items()
        }
    return found


def method_maps(subject: Subject, kinds: Sequence[str], scoring: Any) -> dict[str, GridMap]:
    """Return the map of every method that a clip alone suffices for, at its defaults."""
    case, axes = subject.case, subject.case.layout
    maps = {}
    for description in registry.methods.descriptions():
        if description.kind not in kinds or description.fit or description.needs & _NOT_ALONE:
            continue
        for call in _calls(description, subject):
            try:
                trace = case.model.trace(case.features, case.hypothesis, description.needs)
                values = compute_map(description, call, replace(case, trace=trace))
            except XbenchError as problem:
                print(f"{subject.model}: {call} is left out: {problem}")
                continue
            grid = Method.registered(call).on_grid(values, axes, scoring)
            maps[_name(description, call)] = grid
    return maps


def _name(description: MethodDescription, call: Call) -> str:
    """Return the method with what was chosen for it, defaults left out."""
    defaults = {p.name: p.default for p in description.parameters}
    chosen = {key: value for key, value in call.params if value != defaults[key]}
    return str(Call.make(call.name, chosen))


def _calls(description: MethodDescription, subject: Subject) -> list[Call]:
    """Return the method at its defaults; of one that chooses a layer or head, the last layer's heads."""
    info = subject.case.model.info
    sizes = {"layer": info.decoder_layers, "head": info.heads}
    given = {p.name: p.sweep for p in description.parameters if p.required and p.sweep}
    calls = [Call(description.name)]
    for name, axis in given.items():
        indices = range(sizes[axis]) if axis == "head" else [sizes[axis] - 1]
        calls = [call.with_params(**{name: index}) for call in calls for index in indices]
    return [description.resolve(call) for call in calls]


def orders(found: list[Utterance], metric: str) -> tuple[int, list[tuple[str, str]]]:
    """Return how many pairs of methods `paper` separates, and those that `fast` puts the other way round.

    Separated: the 95 % interval of the mean paired difference over utterances leaves zero out.
    """
    names = list(found[0].scores)
    separated, changed = 0, []
    for first, second in combinations(names, 2):
        differences = {
            preset: [_difference(u, metric, preset, first, second) for u in found]
            for preset in PRESETS
        }
        clips = [u.clip for u in found]
        paper = stats.mean_estimate(differences["paper"], clips, seed=0)
        if paper.value is None or paper.low is None or paper.high is None:
            continue
        if paper.low <= 0 <= paper.high:
            continue
        separated += 1
        fast = stats.mean_estimate(differences["fast"], clips, seed=0).value
        if fast is not None and fast * paper.value < 0:
            changed.append((first, second))
    return separated, changed


def _difference(u: Utterance, metric: str, preset: str, first: str, second: str) -> float | None:
    if first not in u.scores or second not in u.scores:
        return None
    a, b = (u.scores[name][metric][preset] for name in (first, second))
    return None if a is None or b is None else a - b


def mean(values: Any) -> float | None:
    """Return the mean of what is defined."""
    defined = [v for v in values if v is not None]
    return math.fsum(defined) / len(defined) if defined else None


def render(found: list[Utterance], masks: int) -> str:
    """Return the report as Markdown."""
    lines = [
        "# `fast` against `paper`",
        "",
        "Made by `python perf/fast_vs_paper.py`. `paper`: masked mean of "
        f"{masks:,} masks for every utterance. `fast`: until the",
        "estimated reliability is 0.9 (docs/references.md). Disjoint masks. Agreement: the correlation of the two maps",
        "as used, mean over content tokens; its ceiling is sqrt(reliability of `fast` x reliability of `paper`).",
        "",
        "Order: pairs of methods that `paper` separates (95 % interval of the paired difference, which",
        "takes five utterances), and how many of them `fast` puts the other way round; pearson, then pearson-paper.",
        "Metrics when this was measured: "
        + ", ".join(f"`{name}` in version {version}" for name, version in found[0].versions.items())
        + ".",
        "",
        "| model, reference | utterances | agreement / ceiling | masks of `fast`, median (max) | target missed "
        "| passes, `paper` / `fast` | seconds, `paper` / `fast` | order: separated, changed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[Utterance]] = {}
    for utterance in found:
        groups.setdefault((utterance.model, utterance.reference), []).append(utterance)
    for (model, reference), group in groups.items():
        lines.append(_summary_row(model, reference, group))
    lines += ["", "## Per utterance", ""]
    lines += [
        "| utterance, reference | tokens (unreliable) | masks of `fast` | reliability `fast` | reliability `paper` "
        "| agreement | ceiling | agreement / ceiling |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for u in found:
        ratio = None if not u.ceiling else u.correlation / u.ceiling
        lines.append(
            f"| {u.model}, {u.clip}, `{u.reference}` | {u.tokens} ({u.unreliable_rows}) | {u.masks['fast']:,} "
            f"| {_value(u.reliability['fast'])} | {_value(u.reliability['paper'])} | {_value(u.correlation)} "
            f"| {_value(u.ceiling)} | {_value(ratio)} |"
        )
    for (model, reference), group in groups.items():
        lines += _method_table(model, reference, group)
    return "\n".join(lines) + "\n"


def _summary_row(model: str, reference: str, group: list[Utterance]) -> str:
    together = [u for u in group if u.ceiling]
    ceiling = math.fsum(u.ceiling or 0.0 for u in together)
    ratio = math.fsum(u.correlation for u in together) / ceiling if ceiling else None
    taken = [u.masks["fast"] for u in group]
    changes = []
    for metric in METRICS:
        separated, changed = orders(group, metric)
        changes.append(
            f"{separated}, {len(changed)}" + "".join(f" ({a} / {b})" for a, b in changed)
        )
    cost = {
        what: sum(getattr(u, what)["paper"] for u in group)
        / sum(getattr(u, what)["fast"] for u in group)
        for what in ("masks", "seconds")
    }
    return (
        f"| {model}, `{reference}` | {len(group)} | {_value(ratio)} | {np.median(taken):,.0f} ({max(taken):,}) "
        f"| {sum(u.converged is False for u in group)} | {cost['masks']:.1f} | {cost['seconds']:.1f} "
        f"| {'; '.join(changes)} |"
    )


def _method_table(model: str, reference: str, group: list[Utterance]) -> list[str]:
    names = [n for n in group[0].scores if all(n in u.scores for u in group)]
    values = {
        (name, metric, which): mean(u.scores[name][metric][which] for u in group)
        for name in names
        for metric in METRICS
        for which in ("paper", "fast", "reliable")
    }
    names.sort(key=lambda n: -(values[n, "pearson", "paper"] or -2.0))
    total = sum(u.tokens for u in group)
    without = sum(u.unreliable_rows for u in group)
    lines = [
        "",
        f"## Methods on {model} against `{reference}`",
        "",
        f"Last column of each metric: `fast` without the {without} of {total} tokens whose row has a reliability "
        f"below {RELIABLE_ROW}.",
        "",
        "| method | pearson: `paper` | `fast` | `fast`, reliable rows "
        "| pearson-paper: `paper` | `fast` | `fast`, reliable rows |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        cells = [_value(values[name, m, w]) for m in METRICS for w in ("paper", "fast", "reliable")]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> None:
    """Make both references of every utterance and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    models = ["xbench-tiny", "whisper-micro"]
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=models)
    parser.add_argument("--clips", type=int, default=6, help="clips per model, spes-encoder")
    parser.add_argument("--input-clips", type=int, default=5, help="clips per model, spes-input")
    parser.add_argument("--masks", type=int, help="masks of `paper`; the preset's own: 20,000")
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=["attention", "control", "gradient"],
        help="kinds of methods; `perturbation` costs thousands of passes per clip",
    )
    parser.add_argument("--quick", action="store_true", help="two clips, 2,000 masks, only printed")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.clips, arguments.input_clips, arguments.masks = 2, 0, 2000
    tasks = presets(arguments.masks)
    found = []
    for model in arguments.models:
        for index, subject in enumerate(
            subjects(model, max(arguments.clips, arguments.input_clips))
        ):
            maps = method_maps(subject, arguments.kinds, tasks["fast"].scoring)
            for name, clips in (
                ("spes-encoder", arguments.clips),
                ("spes-input", arguments.input_clips),
            ):
                if index < clips:
                    found.append(compare(subject, name, tasks, maps))
                    print(f"{model}, {subject.clip}, {name}: {found[-1].masks}", flush=True)
    text = render(found, max(u.masks["paper"] for u in found))
    print(text)
    if not arguments.quick:
        (HERE / "fast_vs_paper.md").write_text(text)
        (HERE / "fast_vs_paper.json").write_text(
            json.dumps([asdict(u) for u in found], indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
