"""Results as the command line shows them: a table per task and reference, and the lines below it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from xbench.cli.console import out, safe, say

if TYPE_CHECKING:
    from xbench.results import ReferenceRecord, RivalRecord, RunResult, ScoreRecord
    from xbench.runner.stability import Stability
    from xbench.stats import Comparison


def show_results(results: Sequence[RunResult], folder: Path) -> None:
    """Print one table per task, model and reference, then where the files lie."""
    from xbench.results import model_labels

    models = model_labels(result.model for result in results)
    groups: dict[tuple[str, str], list[RunResult]] = {}
    for result in results:
        groups.setdefault((result.task.name, models[result.model.identity]), []).append(result)
    for (task, model), group in groups.items():
        title = f"{task} | {model}" if len(models) > 1 else task
        if all(r.status == "unsupported" for r in group):
            for reason in dict.fromkeys(r.reason for r in group):
                say(f"{title} | unsupported: {reason}\n")
            continue
        # An unsupported method has no references of its own to describe the table with.
        shown = next((r for r in group if r.status != "unsupported"), group[0])
        for reference in shown.references:
            if any(s.reference == reference.name for s in shown.scores):
                out.print(_score_table(title, shown, reference, group))
        alone = [s for s in shown.scores if s.reference is None]
        for first in range(0, len(alone), _WIDEST):
            out.print(_intervention_table(title, shown, alone[first : first + _WIDEST], group))
        for result in group:
            if result.gates:
                say(_gate_line(result))
        for line in _left_out_lines(group):
            say(line)
        say(_quality_line(shown))
        for failure in shown.failures:
            say(f"not scored: {failure.id}: {failure.reason}")
        say("")
    say(_LEGEND)
    if any(len(result.references) > 1 for result in results):
        say(
            "ceiling: what sampling allows; second ceiling: what another reference of equal right would score; of any "
            f"two references, also of several runs: xbench audit references {folder}"
        )
    say(f"{len(results)} result file{'s' if len(results) > 1 else ''} under {folder}/")


_LEGEND = (
    "score [95 % interval, provided that other clusters are like these]; * headline; by effect: each token weighted "
    "by what hiding audio does to it; "
    "= not distinguished from the best (at 5 % over all pairs; where rare clusters are far worse for one method only, "
    "up to 30 clusters name a false difference in 13 to 18 % of tables); ~ the reference itself, drawn again; "
    "skill = (score - floor) / (ceiling - floor); cost: seconds per second of audio; – = null, the result file says why"
)


def _score_table(
    title: str, shown: RunResult, reference: ReferenceRecord, results: Sequence[RunResult]
) -> Table:
    headline = shown.task.headline
    scores = [s for s in shown.scores if s.reference == reference.name]
    bounds = [
        f"{s.metric}: floor {_number(s.floor.value)} ({shown.task.floor}), ceiling {_number(s.ceiling.value)}"
        f"{_bounds_by_effect(s)}"
        for s in scores
    ]
    table = Table(
        title="\n".join(
            [
                f"{title} | {reference.name}, {_masks(reference)} masks, "
                f"estimated reliability {_number(reference.reliability.value)}{_too_low(shown, reference)}"
                f"{_audio_tokens(reference)}{_unconverged(reference)}",
                *bounds,
                *map(_second_ceiling, reference.rivals),
            ]
        ),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("method", overflow="fold")
    # The headline metric comes first and alone carries interval and skill; files hold the rest.
    metrics = sorted((s.metric for s in scores), key=lambda name: name != headline["metric"])
    star = "*" if headline["reference"] == reference.name else ""
    table.add_column(f"{metrics[0]}{star}", justify="right", no_wrap=True)
    table.add_column("skill", justify="right", no_wrap=True)
    table.add_column("by effect", justify="right", no_wrap=True)
    table.add_column("skill", justify="right", no_wrap=True)
    for metric in metrics[1:]:
        table.add_column(metric, justify="right", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    again = _drawn_again(results, reference.name)
    rivals = [r for r in results if r.provenance.spec_hash not in again]
    compared = _compared(rivals, metrics[0], reference.name)
    best = compared.best_group if compared else ()
    if compared and compared.resolution is not None:
        table.caption = (
            f"{metrics[0]}: differences from the best below about {compared.resolution:.2f} "
            f"cannot be told apart with {compared.n_clusters} clusters"
        )
        table.caption_justify = "left"
    for result in _ranked(results, metrics[0], reference.name):
        first = result.score(metrics[0], reference.name)
        id = result.provenance.spec_hash
        mark = "= " if id in best else "~ " if id in again else ""
        cells = [
            mark + result.method.label,
            _score_cell(result, first),
            _number(first.skill.value),
            *(
                "–" if part is None else _number(part.value)
                for part in (first.weighted, first.weighted_skill)
            ),
        ]
        cells += [_number(result.score(name, reference.name).value) for name in metrics[1:]]
        per_second = result.cost.seconds_per_audio_second
        cells.append("–" if per_second is None else f"{per_second:.4f}")
        table.add_row(*map(safe, cells))
    return table


def _too_low(shown: RunResult, reference: ReferenceRecord) -> str:
    """Mark a reliability that is too low with few masks, and ceilings with it: a maximum over cells is not a sum."""
    from xbench import registry
    from xbench.claims.here import registered

    described = registered(registry.references, reference.name)
    pooled = {shown.task.scoring.get(axis) for axis in ("pool_time", "pool_frequency")}
    if described is None or described.space != "input" or "max" not in pooled:
        return ""
    return " (max-pooled: with few masks it and the ceilings are too low, skill too high)"


def _bounds_by_effect(score: ScoreRecord) -> str:
    floor, ceiling = score.weighted_floor, score.weighted_ceiling
    if floor is None or ceiling is None or floor.value is None:
        return ""
    return f"; by effect: floor {_number(floor.value)}, ceiling {_number(ceiling.value)}"


def _second_ceiling(rival: RivalRecord) -> str:
    return (
        f"second ceiling of pearson {_number(rival.ceiling.value)}: what {rival.reference} would score, "
        "if it had no noise of its own"
    )


_WIDEST = 3  # scores with their intervals that fit beside a method's name


def _intervention_table(
    title: str, shown: RunResult, metrics: Sequence[ScoreRecord], results: Sequence[RunResult]
) -> Table:
    """Return scores without a reference; in the head of each column the floor."""
    table = Table(
        title=f"{title} | by intervention, no reference",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("method", overflow="fold")
    for score in metrics:
        arrow = "↑" if score.direction == "higher" else "↓"
        floor = f"floor {_number(score.floor.value)}"
        table.add_column(f"{score.metric} {arrow}\n{floor}", justify="right", overflow="fold")
    for result in results:
        cells = [_score_cell(result, result.score(s.metric)) for s in metrics]
        table.add_row(*map(safe, [result.method.label, *cells]))
    return table


def _gate_line(result: RunResult) -> str:
    marks = {"pass": "pass", "fail": "FAIL", "not-applicable": "n/a"}
    gates = [
        f"{gate.name} {marks[gate.status]}"
        + (f" ({gate.value:.3g})" if gate.value is not None else "")
        for gate in result.gates
    ]
    return f"gates of {result.method.label}: {', '.join(gates)}"


def _masks(reference: ReferenceRecord) -> str:
    counts = reference.masks_per_utterance
    if counts is None or counts.min == counts.max:
        return str(sum(reference.masks))
    return f"{counts.min} to {counts.max} (median {counts.median:.0f})"


def _audio_tokens(reference: ReferenceRecord) -> str:
    tokens = reference.audio_tokens
    if tokens is None or not tokens.n:
        return ""
    return f", {tokens.depend / tokens.n:.0%} of the tokens depend on the audio"


def _unconverged(reference: ReferenceRecord) -> str:
    if reference.converged is not False or reference.converged_share is None:
        return ""
    target = reference.params.get("until")
    return (
        f"; WARNING: {1 - reference.converged_share:.0%} of utterances below the {target} asked for"
    )


def _ranked(results: Sequence[RunResult], metric: str, reference: str) -> list[RunResult]:
    def position(result: RunResult) -> tuple[bool, float]:
        score = result.score(metric, reference)
        sign = -1 if score.direction == "higher" else 1
        return score.value is None, sign * (score.value or 0.0)

    return sorted(results, key=position)


def _drawn_again(results: Sequence[RunResult], reference: str) -> frozenset[str]:
    """Return the results of this reference's own estimator, by spec hash: against itself it would lead."""
    from xbench import registry

    own = {d.name for d in registry.methods.descriptions() if d.estimates == reference}
    return frozenset(r.provenance.spec_hash for r in results if r.method.name in own)


def _compared(results: Sequence[RunResult], metric: str, reference: str) -> Comparison | None:
    """Compare the results of the same utterances by spec hash; None where there are fewer than two."""
    from xbench import stats
    from xbench.results import column_name

    ids = next((r.utterances["id"] for r in results if r.utterances["id"]), [])
    comparable = {r.provenance.spec_hash: r for r in results if ids and r.utterances["id"] == ids}
    if len(comparable) < 2:
        return None
    first = next(iter(comparable.values()))
    return stats.compare(
        list(comparable),
        [r.utterances[column_name(metric, reference)] for r in comparable.values()],
        first.utterances["cluster"],
        higher_is_better=first.score(metric, reference).direction == "higher",
        seed=first.provenance.seed,
    )


def show_stability(rows: Sequence[Stability]) -> None:
    """Print how well each other ranking agrees with the headline's."""
    if not rows:
        say(
            "the results have one metric and one reference: nothing to compare; add --scoring or --map"
        )
        return
    table = Table(
        title=f"Kendall's tau-b of rankings with that by {rows[0].headline}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("ranking by", no_wrap=True)
    for name in ("tau-b [95 % interval]", "methods", "utterances", "clusters"):
        table.add_column(name, overflow="fold")
    for row in rows:
        tau = row.tau
        cell = f"– ({tau.reason})" if tau.value is None else f"{tau.value:.2f}"
        if tau.low is not None and tau.high is not None:
            cell += f" [{tau.low:.2f}, {tau.high:.2f}]"
        elif tau.ci_reason:
            cell += f" (no interval: {tau.ci_reason})"
        cells = (row.view, cell, row.methods, tau.n, tau.n_clusters)
        table.add_row(*(safe(str(value)) for value in cells))
    out.print(table)


def _score_cell(result: RunResult, score: ScoreRecord) -> str:
    if result.status == "unsupported":
        return "unsupported"
    if score.value is None:
        return f"– ({score.reason})"
    interval = f" [{score.ci[0]:.2f}, {score.ci[1]:.2f}]" if score.ci else f" (n={score.n})"
    return f"{score.value:.3f}{interval}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


_LARGE = 0.2  # share of the content tokens


def _left_out_lines(results: Sequence[RunResult]) -> list[str]:
    """Say which scores are means over clearly fewer tokens than were written, and whose go furthest."""
    from xbench.results import column_name

    found: dict[str, tuple[float, str]] = {}
    for result in results:
        tokens = sum(result.utterances["tokens"])
        for score in result.scores:
            share = sum(score.tokens_left_out.values()) / tokens if tokens else 0.0
            name = column_name(score.metric, score.reference)
            if score.value is not None and share >= max(_LARGE, found.get(name, (0.0,))[0]):
                reasons = ", ".join(score.tokens_left_out)
                found[name] = (share, f"of {result.method.label} ({reasons})")
    return [
        f"{name}: {share:.0%} of the tokens {whose} do not count"
        for name, (share, whose) in found.items()
    ]


def _quality_line(result: RunResult) -> str:
    quality = result.quality
    if quality.value is None:
        return f"hypotheses: no {quality.metric} ({quality.reason})"
    line = f"hypotheses: {quality.metric} {quality.value:.1f} over {quality.n} utterances"
    if quality.poor:
        line += f"; WARNING: {quality.poor} of them poor, their explanations explain nonsense"
    return line
