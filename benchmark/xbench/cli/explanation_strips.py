"""One explanation in the terminal: a strip of blocks per token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xbench.cli.console import out, safe, say

if TYPE_CHECKING:
    from xbench.runner.clip import Explanation

_BLOCKS = " ▁▂▃▄▅▆▇█"


def show_explanation(explanation: Explanation) -> None:
    """Print the hypothesis and a strip per token: how its relevance is spread over time.

    A column is the maximum of the frames it covers; each row is scaled to its own maximum.
    """
    import numpy as np

    say(
        f"{explanation.audio} ({explanation.seconds:.2f} s), {explanation.model.name}, {explanation.method}"
    )
    say(f"hypothesis: {explanation.text}")
    frames = explanation.values.shape[1]
    width = max(len(repr(token)) for token in explanation.tokens)
    columns = max(1, min(frames, out.width - width - 4))
    starts = np.arange(columns) * frames // columns
    pooled = np.maximum.reduceat(explanation.values, starts, axis=1)
    low, high = pooled.min(1, keepdims=True), pooled.max(1, keepdims=True)
    levels = np.where(high > low, (pooled - low) / np.where(high > low, high - low, 1), 0)
    for token, row in zip(explanation.tokens, levels, strict=True):
        strip = "".join(_BLOCKS[round(level * (len(_BLOCKS) - 1))] for level in row)
        out.print(
            f"{safe(repr(token)):>{width}} [cyan]{strip}[/cyan]", soft_wrap=False, no_wrap=True
        )
    end = f"{frames * explanation.frame_seconds:.2f} s"
    say(" " * (width + 1) + "0 s" + end.rjust(columns - 3))
