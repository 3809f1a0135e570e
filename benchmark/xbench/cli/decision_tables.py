"""What follows from maps as tables: a row per method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from xbench.cli.console import out, say

if TYPE_CHECKING:
    from xbench.decisions.listening import Listening
    from xbench.decisions.streaming import Streaming
    from xbench.decisions.usefulness import Usefulness
    from xbench.decisions.words import Timed
    from xbench.stats import Estimate
    from xbench.stats.detection import Detection

_WORDS = (
    "onset, end: mean distance from the known time in ms; bias: signed, above 0 is late; within: share of onsets at "
    "most 50, 100, 200 ms off; F1: of word boundaries; in brackets the 95 % interval over speakers"
)
_LISTENING = (
    "effect: to be found are the tokens that hiding audio changes least; made up: those whose word cannot be heard in "
    "the clip; PR-AUC of a detector without information is the share of such tokens; in brackets the 95 % interval "
    "over clips' clusters; then AUROC on clips of speech and one other construction"
)
_USEFULNESS = (
    "Kendall's tau-b between the order by the judge and the order by the use, all turned so that higher is better: 1 "
    "the same order, 0 no relation; in brackets the 95 % interval over clusters"
)
_STREAMING = (
    "regret: share of what a token depends on that was not heard when it is written; delay: seconds after the moment "
    "it depends on; with the policy's own lag, and with the lag that meets the accepted regret; area: mean delay over "
    "accepted regrets from 0.05 to 0.5; n: in so many clips a lag meets the regret, – in none. The reference's row: "
    "half of its masks advises, the other half judges"
)


def show_words(timed: Timed) -> None:
    """Print how well each method times words."""
    covered = timed.covered
    table = _table(
        f"{timed.words} words in {covered.n} clips of {covered.n_clusters} speakers, {_share(covered)} of them in the "
        f"hypothesis, {timed.inserted} others in it; read at the {timed.point}; F1 at {1000 * timed.tolerance:g} ms",
        "method",
        ("onset", "bias", "end", "bias", "50", "100", "200", "F1"),
    )
    for row in timed.rows:
        shares = [_share(row.within[bound]) for bound in ("0.05", "0.1", "0.2")]
        times = [_ms(row.onset), _ms(row.onset_bias), _ms(row.end), _ms(row.end_bias)]
        table.add_row(*map(escape, [row.method, *times, *shares, _plain(row.f1, 2)]))
    out.print(table)
    say(_WORDS)
    if timed.other_text:
        named = ", ".join(timed.other_text[:3])
        say(
            f"left out, for their words are not those of the transcript: {len(timed.other_text)} ({named})"
        )


def show_streaming(found: Streaming) -> None:
    """Print what a policy would do with each map."""
    policy = found.policy
    first = found.rows[0].regret
    table = _table(
        f"{policy.name}, lag {policy.lag:g} s, a decision every {policy.chunk:g} s; judged by {found.reference} on "
        f"{first.n} clips of {first.n_clusters} clusters",
        "map",
        (
            *("regret", "delay", f"delay at {found.accepted:g}", "area"),
            *(() if found.by is None else (f"written by {found.by:g} s", "their regret")),
        ),
    )
    for row in found.rows:
        timed = [each for each in (row.written, row.regret_by) if each is not None]
        columns = (row.regret, row.delay, row.delay_at, row.area, *timed)
        cells = [_plain(each, 2, first.n) for each in columns]
        name = row.name if row.kind == "method" else f"{row.name} (reference)"
        table.add_row(*map(escape, [name, *cells]))
    out.print(table)
    say(_STREAMING)


def show_listening(found: Listening) -> None:
    """Print how well each detector finds tokens that need no audio."""
    kinds = [kind for kind in found.made_up if kind != "speech"]
    sure = "" if found.reliability is None else f", reliability {found.reliability:.2f}"
    table = _table(
        f"{found.model}, {found.task}: {found.tokens} tokens of {found.clips} clips; not listened for: "
        f"{found.reference} at most {found.threshold:.3g}, {100 * found.lowest:.0f} % of the tokens{sure}",
        "detector",
        ("effect AUROC", "PR-AUC", "made up AUROC", "PR-AUC", *kinds),
    )
    for row in found.rows:
        name = row.name if row.method is None else f"{row.name} of {row.method}"
        whole = [cell for truth in (row.effect, row.construction) for cell in _areas(truth)]
        apart = [_plain(row.of[kind].auroc, 2) if kind in row.of else "–" for kind in kinds]
        table.add_row(*map(escape, [name, *whole, *apart]))
    out.print(table)
    say(_LISTENING)
    if found.made_up:
        shares = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in found.made_up.items())
        say(f"tokens that are made up: {shares}")
    for reason in found.absent:
        say(f"left out: {reason}")


def show_usefulness(found: Usefulness) -> None:
    """Print how far judges of faithfulness foresee uses, a row per judge and what is ordered."""
    uses = list(dict.fromkeys(row.use for row in found.rows))
    for name in dict.fromkeys((row.model, row.task, row.data) for row in found.rows):
        own = [row for row in found.rows if (row.model, row.task, row.data) == name]
        table = _table(", ".join(filter(None, name)), "judge", ("over", "units", *uses))
        for judge, over in dict.fromkeys((row.judge, row.over) for row in own):
            cells = {r.use: r for r in own if (r.judge, r.over) == (judge, over)}
            taus = [_plain(cells[use].tau, 2) if use in cells else "–" for use in uses]
            units = max(row.units for row in cells.values())
            table.add_row(*map(escape, [judge, over, str(units), *taus]))
        out.print(table)
    say(_USEFULNESS)
    for reason in found.absent:
        say(f"left out: {reason}")


def _areas(truth: Detection | None) -> tuple[str, str]:
    return ("–", "–") if truth is None else (_plain(truth.auroc, 2), _plain(truth.pr_auc, 2))


def _table(title: str, first: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _ms(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    interval = (
        ""
        if estimate.low is None or estimate.high is None
        else f" [{1000 * estimate.low:.0f}, {1000 * estimate.high:.0f}]"
    )
    return f"{1000 * estimate.value:.0f}{interval}"


def _share(estimate: Estimate) -> str:
    return "–" if estimate.value is None else f"{100 * estimate.value:.0f} %"


def _plain(estimate: Estimate, digits: int, clips: int | None = None) -> str:
    if estimate.value is None:
        return "–"
    interval = (
        ""
        if estimate.low is None or estimate.high is None
        else f" [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    )
    fewer = "" if clips in (None, estimate.n) else f" (n={estimate.n})"
    return f"{estimate.value:.{digits}f}{interval}{fewer}"
