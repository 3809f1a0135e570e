"""What methods that hide frames themselves score on real speech, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from findings_runs import Run, interval, table

WORDS = """## What does trying it out buy?

The methods above read attention and gradients. Those here run the decoder again and again with parts of the encoder's
output hidden, as the reference itself does, only with fewer passes and segments instead of single frames: they say
whether trying out a little beats reading. Passes are forward and backward ones per clip; the last column is the lead
over the best method of (c), and its intervals hold for these pairs at once. Of a model
and clips without a table here, these methods were not run."""


def tried_out(runs: Sequence[Run]) -> list[str]:
    """Return a table per run: score, passes and lead of every method that tries the model out."""
    lines: list[str] = []
    for run in runs:
        labels = [label for label in run.judged(tried=True) if label not in run.judged()]
        if not labels:
            continue
        best = run.compared("pearson", run.judged()).order[0]
        compared = run.compared("pearson", [best, *labels])
        rows = []
        for label in sorted(
            labels, key=lambda label: -(run.results[label].score("pearson").value or 0)
        ):
            result = run.results[label]
            own = result.score("pearson")
            pair = compared.pair(label, best)
            sign = 1 if pair.first == label else -1
            ends = sorted(sign * end for end in (pair.low, pair.high) if end is not None)
            lead = None if pair.difference is None else sign * pair.difference
            rows.append(
                [
                    f"`{label}`",
                    interval(own.value, own.ci),
                    f"{passes(run, label):,.0f}",
                    interval(lead, ends or None),
                ]
            )
        first = run.results[best].score("pearson")
        rows.append(
            [f"`{best}`", interval(first.value, first.ci), f"{passes(run, best):,.0f}", "–"]
        )
        lines += [f"{run.name}:", ""]
        lines += table(["method", "per token", "passes per clip", f"less `{best}`"], rows)
    return lines


def passes(run: Run, label: str) -> float:
    """Return forward and backward passes per clip."""
    cost = run.results[label].cost
    forward, backward = cost.forward_passes, cost.backward_passes
    assert forward is not None  # what is run here is counted
    assert backward is not None
    return (forward + backward) / len(run.clusters)
