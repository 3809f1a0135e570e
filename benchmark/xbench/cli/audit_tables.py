"""What an audit found as tables: a row per metric, a column per ladder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from xbench.cli.console import out, say

if TYPE_CHECKING:
    from xbench.audit.findings import Finding
    from xbench.audit.judged import Judgement
    from xbench.audit.prefix import PrefixAudit
    from xbench.audit.rivals import Rivalry
    from xbench.audit.word_times import Hits
    from xbench.stats import Estimate

_LEGEND = (
    "cell: the smallest step from which on the worse map is told apart from the intact one (95 % interval of the "
    "paired change), with the clips that this step needs; tau: how well the order of the steps is recovered, where it "
    "is not 1; ↑ steps that raise the score; blind: no step changes any score; none: the largest step is not told "
    "apart; –: no score. Steps: noise, swap, shuffle and sink in shares, shift and blur in ms, sharpen as a power"
)


def show_findings(judgement: Judgement, rows: Sequence[Finding]) -> None:
    """Print one table per start and reference."""
    clusters = len(set(judgement.clusters))
    for start, reference in dict.fromkeys((row.start, row.reference) for row in rows):
        own = [row for row in rows if (row.start, row.reference) == (start, reference)]
        made_worse = (
            f"half of {reference}, judged by the other half" if start == "reference" else start
        )
        table = Table(
            title=f"{judgement.task} | {reference}, {judgement.model}, {len(judgement.ids)} clips of "
            f"{clusters} clusters\nmade worse: {made_worse}",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        table.add_column("metric", overflow="fold")
        table.add_column("intact", justify="right", no_wrap=True)
        ladders = list(dict.fromkeys(row.ladder for row in own))
        for ladder in ladders:
            table.add_column(ladder, overflow="fold")
        for metric in dict.fromkeys(row.metric for row in own):
            cells = {row.ladder: row for row in own if row.metric == metric}
            intact = next(iter(cells.values())).intact
            shown = "–" if intact is None else f"{intact:.3f}"
            table.add_row(*map(escape, [metric, shown, *(_cell(cells[name]) for name in ladders)]))
        out.print(table)
    say(_LEGEND)


def _cell(row: Finding) -> str:
    if row.intact is None:
        return "–"
    if row.blind:
        return "blind"
    parts = [f"{row.sensitivity:g}" if row.sensitivity is not None else "none"]
    needed = next((s.clips_needed for s in row.steps if s.size == row.sensitivity), None)
    if needed is not None:
        parts.append(f"(n={needed})")
    tau = row.order.value
    if tau is not None and tau < 1:
        parts.append(f"tau {tau:.2f}")
    if row.raised:
        parts.append("↑" + ",".join(f"{size:g}" for size in row.raised))
    return " ".join(parts)


def show_rivalries(rows: Sequence[Rivalry]) -> None:
    """Print one table per metric: what each reference scores against each other one."""
    for metric in dict.fromkeys(row.metric for row in rows):
        own = [row for row in rows if row.metric == metric]
        table = Table(
            title=f"{metric}: references as methods, {own[0].score.n} clips of {own[0].score.n_clusters} clusters",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for name in ("judge", "ceiling by sampling", "rival", "score", "second ceiling"):
            table.add_column(name, overflow="fold")
        for row in own:
            cells = (
                row.judge,
                _estimate(row.sampling),
                row.rival,
                _estimate(row.score),
                _estimate(row.ceiling),
            )
            table.add_row(*map(escape, cells))
        out.print(table)
    say(
        "second ceiling: what the rival would score without noise of its own; a method that is exactly as right as the "
        "rival can score no more"
    )


def show_hits(rows: Sequence[Hits], top: int) -> None:
    """Print how often each map points into the word."""
    first = rows[0].hit
    table = Table(
        title=f"tokens with one of the {top} highest frames in their word, {first.n} clips of "
        f"{first.n_clusters} clusters",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("kind", "map", "hits"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, (row.kind, row.name, _estimate(row.hit))))
    out.print(table)


def show_leaning(found: PrefixAudit) -> None:
    """Print how far texts lean on the audio, and the clip that does so least."""
    say(
        f"{found.task}, {found.model}, {len(found.clips)} clips: share of the audio {_estimate(found.share)}; "
        f"{100 * found.mostly_text:.0f} % of the tokens lose more without the text before them than without the audio"
    )
    known = [clip for clip in found.clips if clip.mean_share is not None]
    for clip in sorted(known, key=lambda clip: clip.mean_share or 0)[:1]:
        table = Table(
            title=f"{clip.id}, where the share is lowest", title_justify="left", box=box.SIMPLE_HEAD
        )
        for name in ("token", "nats lost without audio", "without the text", "share"):
            table.add_column(name, justify="left" if name == "token" else "right")
        for row in zip(clip.tokens, clip.audio, clip.text, clip.share, strict=True):
            share = "–" if row[3] is None else f"{row[3]:.2f}"
            table.add_row(escape(row[0]), f"{row[1]:.3f}", f"{row[2]:.3f}", share)
        out.print(table)
    for id_, reason in found.failures:
        say(f"not measured: {id_} ({reason})")


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "–"
    interval = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.3f}{interval}"
