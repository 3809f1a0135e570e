"""What follows from maps as tables: a row per method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from xbench.cli.console import out, say

if TYPE_CHECKING:
    from xbench.decisions.streaming import Streaming
    from xbench.decisions.words import Timed
    from xbench.stats import Estimate

_WORDS = (
    "onset, end: mean distance from the known time in ms; bias: signed, above 0 is late; within: share of onsets at "
    "most 50, 100, 200 ms off; F1: of word boundaries; in brackets the 95 % interval over speakers"
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
        f"hypothesis; F1 at {1000 * timed.tolerance:g} ms",
        "method",
        ("onset", "bias", "end", "bias", "50", "100", "200", "F1"),
    )
    for row in timed.rows:
        shares = [_share(row.within[bound]) for bound in ("0.05", "0.1", "0.2")]
        times = [_ms(row.onset), _ms(row.onset_bias), _ms(row.end), _ms(row.end_bias)]
        table.add_row(*map(escape, [row.method, *times, *shares, _plain(row.f1, 2)]))
    out.print(table)
    say(_WORDS)


def show_streaming(found: Streaming) -> None:
    """Print what a policy would do with each map."""
    policy = found.policy
    first = found.rows[0].regret
    table = _table(
        f"{policy.name}, lag {policy.lag:g} s, a decision every {policy.chunk:g} s; judged by {found.reference} on "
        f"{first.n} clips of {first.n_clusters} clusters",
        "map",
        ("regret", "delay", f"delay at {found.accepted:g}", "area"),
    )
    for row in found.rows:
        columns = (row.regret, row.delay, row.delay_at, row.area)
        cells = [_plain(each, 2, first.n) for each in columns]
        name = row.name if row.kind == "method" else f"{row.name} (reference)"
        table.add_row(*map(escape, [name, *cells]))
    out.print(table)
    say(_STREAMING)


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
