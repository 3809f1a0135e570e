"""What methods that hide frames themselves score on real speech, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from findings_runs import Run, interval, table

WORDS = """## What does trying it out buy?

The methods above read attention and gradients. Those here run the decoder again and again with parts of the encoder's
output hidden, as the reference itself does, only with fewer passes and segments instead of single frames: they say
whether trying out a little beats reading. They set hidden frames to zero, as it does. So they agree with it by
construction too, and a lead of theirs is no evidence that they are more faithful by another measure. Passes are
forward and backward ones per clip; one backward pass may be that of one token or of all tokens together, so compare
seconds (per clip, on two cores that did other things as well: good to a factor of two). The last column is the lead
over the best method of (c), which was found on the same clips; its intervals hold for these pairs at once. Of a model
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
                    seconds(run, label),
                    interval(lead, ends or None),
                ]
            )
        # Beside the best of those that read stands the best that needs the pass of the trace only.
        order = run.compared("pearson", run.judged()).order
        cheap = [label for label in order if passes(run, label) <= 1][:1]
        for label in dict.fromkeys((best, *cheap)):
            own = run.results[label].score("pearson")
            told = f"{passes(run, label):,.0f}", seconds(run, label)
            rows.append([f"`{label}`", interval(own.value, own.ci), *told, "–"])
        lines += [f"{run.name}:", ""]
        head = ["method", "per token", "passes per clip", "seconds per clip", f"less `{best}`"]
        lines += table(head, rows)
    return lines


def seconds(run: Run, label: str) -> str:
    """Write how long a method took per clip."""
    taken = run.results[label].cost.seconds
    assert taken is not None  # what is run here is timed
    return f"{taken / len(run.clusters):.2g}"


def passes(run: Run, label: str) -> float:
    """Return forward and backward passes per clip."""
    cost = run.results[label].cost
    forward, backward = cost.forward_passes, cost.backward_passes
    assert forward is not None  # what is run here is counted
    assert backward is not None
    return (forward + backward) / len(run.clusters)
