"""Write docs/findings.md from the result files of the runs on real speech; every number on the page is computed here.

    python scripts/findings.py [--results submissions] [--demo submissions/demo-asr-en/xbench-tiny] [--out FILE]

Reads `xbench.result/1` files only: no model, no store. Runs are those whose clips are called `real-speech-...`
(`scripts/real_results.py` makes them).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from findings_architectures import WORDS as ARCHITECTURES
from findings_architectures import architectures
from findings_decisions import LISTENING_WORDS, listening, timing, word_times
from findings_heads import WORDS as HEADS
from findings_heads import heads
from findings_hiding import WORDS as HIDING
from findings_hiding import tried_out
from findings_languages import WORDS as OF_LANGUAGES
from findings_languages import by_language
from findings_orders import agreement, shown
from findings_runs import Run, interval, runs_of, table
from findings_usefulness import WORDS as USEFULNESS
from findings_usefulness import usefulness
from xbench.results import Interval, RunResult, load_results, short_labels
from xbench.stats.ranking import rank_agreement

ROOT = Path(__file__).parents[1]
REFERENCE = "spes-encoder"
# Shown in the first table: what people use, what leads, and what is free.
SHOWN = (
    "mean-heads",
    "alignment-heads",
    "frame-zscore",
    "value-norm",
    "value-norm-resln",
    "grad-attention",
    "chefer",
    "diagonal",
)
# The reference's own estimator with masks of its own: what a second estimate scores, no rival.
INPUT = "spes-input"
SINK_REMEDIES = ("frame-divided", "frame-zscore", "sinks-dropped", "norm-chosen-heads")


def what(runs: Sequence[Run]) -> list[str]:
    """Say what was run."""
    rows = []
    for run in runs:
        one, reference = run.any, run.any.references[0]
        masks = reference.masks_per_utterance
        quality = one.quality
        rows.append(
            [
                run.name,
                f"{one.task.dataset.n} of {one.scores[0].n_clusters} speakers",
                ", ".join(sorted(set(one.task.source_language))) or "–",
                f"{quality.metric} {quality.value:.1f}" if quality.value is not None else "–",
                f"{quality.poor}",
                interval(reference.reliability.value, reference.reliability.ci),
                f"{masks.min} / {masks.median:.0f} / {masks.max}" if masks else "–",
                f"`{one.task.dataset.fingerprint[:12]}`",
            ]
        )
    head = ["model, clips", "clips", "languages", "quality", "poor clips", "reliability"]
    return table([*head, "masks per clip (min / median / max)", "fingerprint"], rows)


def sizes(runs: Sequence[Run]) -> str:
    """Say how many clips each track has: "30 for `asr-en` and 22 for `asr-multi`"."""
    found: dict[str, set[int]] = {}
    for run in runs:
        found.setdefault(run.clips.removeprefix("real-speech-"), set()).add(run.any.task.dataset.n)
    each = [f"{' or '.join(map(str, sorted(n)))} for `{track}`" for track, n in found.items()]
    return " and ".join(filter(None, (", ".join(each[:-1]), *each[-1:])))


def half(runs: Sequence[Run]) -> list[str]:
    """Put both normalisations side by side, with floors and ceilings."""
    lines = _in_short(runs)
    for run in runs:
        rows = []
        for label, result in run.results.items():
            if result.method.name not in SHOWN or "head" in result.method.params:
                continue
            own, paper = result.score("pearson"), result.score("pearson-paper")
            rows.append(
                [
                    f"`{label}`",
                    interval(own.value, own.ci),
                    interval(own.disattenuated.value, own.disattenuated.ci),
                    by_effect(own.weighted),
                    interval(paper.value, paper.ci),
                    interval(paper.disattenuated.value, paper.disattenuated.ci),
                ]
            )
        one = run.any
        own, paper = one.score("pearson"), one.score("pearson-paper").ceiling
        ceilings = interval(own.ceiling.value, own.ceiling.ci), interval(paper.value, paper.ci)
        all_weighted = (r.score("pearson").weighted_ceiling for r in run.results.values())
        weighted = by_effect(next(filter(None, all_weighted), None))
        rows.append(["*ceiling*", ceilings[0], "1", weighted, ceilings[1], "1"])
        lines += [f"### {run.name}", ""]
        head = ["method", "per token", "of the ceiling", "by effect", "paper's, per frame"]
        lines += table([*head, "of the ceiling"], rows)
    return lines


def _in_short(runs: Sequence[Run]) -> list[str]:
    """Answer for averaged attention, where it was run: between which shares of the ceiling it lies."""
    found = [r for run in runs for r in run.results.values() if r.method.name == "mean-heads"]
    told = []
    for metric, name in (("pearson", "per token"), ("pearson-paper", "by the paper's protocol")):
        shares = [r.score(metric).disattenuated.value for r in found]
        known = [share for share in shares if share is not None]
        if known:
            told.append(f"{min(known):.2f} to {max(known):.2f} of its ceiling {name}")
    if not told:
        return []
    return [f"In short: averaged attention (`mean-heads`) reaches {' and '.join(told)}.", ""]


def by_effect(score: Interval | None) -> str:
    """Write a value with tokens weighted by their effect; a dash in results older than it."""
    return "–" if score is None else interval(score.value, score.ci)


def sinks(runs: Sequence[Run]) -> list[str]:
    """Say how much attention rests on few frames, and what removing it brings."""
    rows = []
    for run in runs:
        known = next((r.sinks for r in run.results.values() if r.sinks is not None), None)
        share = "–" if known is None else f"{100 * known.mean:.0f} %"
        best = [label for label, r in run.results.items() if r.method.name in SINK_REMEDIES]
        base = next(
            (label for label, r in run.results.items() if r.method.name == "mean-heads"), None
        )
        compared = run.compared("pearson", [base, *best]) if base and best else None
        cells = []
        for name in SINK_REMEDIES:
            label = next((each for each in best if run.results[each].method.name == name), None)
            if label is None or base is None or compared is None:
                cells.append("–")
                continue
            pair = compared.pair(label, base)
            sign = 1 if pair.first == label else -1
            ends = sorted(sign * end for end in (pair.low, pair.high) if end is not None)
            difference = None if pair.difference is None else sign * pair.difference
            cells.append(interval(difference, ends or None))
        rows.append([run.name, share, *cells])
    head = ["model, clips", "attention on the three most attended frames"]
    return table([*head, *(f"`{name}` less `mean-heads`" for name in SINK_REMEDIES)], rows)


def leaders(runs: Sequence[Run]) -> list[str]:
    """Name the leading methods, and those not told apart from the first."""
    rows = []
    for run in runs:
        for metric in ("pearson", "pearson-paper"):
            found = run.compared(metric, run.judged())
            first = found.order[0]
            score = run.results[first].score(metric)
            group = ", ".join(f"`{name}`" for name in found.best_group) or f"none: {found.reason}"
            apart = "–" if found.resolution is None else f"{found.resolution:.2f}"
            rows.append(
                [run.name, metric, f"`{first}`", interval(score.value, score.ci), group, apart]
            )
    head = ["model, clips", "metric", "leads", "score", "not told apart from it"]
    return table([*head, "half width of an interval"], rows)


def sibling_runs(demo: Path, sibling: Path) -> list[tuple[Run, Run]]:
    """Return the runs of both packaged models on the demo's other tasks, where both have results."""
    found = []
    for task in ("demo-asr-multi", "demo-st-multi"):
        folders = (place.parents[1] / task / place.name for place in (demo, sibling))
        cross, own = (
            demo_run(load_results(folder)) if folder.is_dir() else None for folder in folders
        )
        if cross and own:
            found.append((cross, own))
    return found


def demo_run(demo: Sequence[RunResult]) -> Run | None:
    """Return the demo's results as a run of its own."""
    scored = [r for r in demo if r.status in ("complete", "partial")]
    labels = short_labels([r.method for r in scored])
    return (
        Run("the demo (`xbench-tiny`)", "", dict(zip(labels, scored, strict=True)))
        if scored
        else None
    )


def both_references(runs: Sequence[Run]) -> list[str]:
    """Put the two references side by side where both were estimated: encoder frames hidden, and the spectrogram."""
    lines: list[str] = []
    for run in runs:
        rows = []
        for label, result in run.results.items():
            if result.method.name not in SHOWN or "head" in result.method.params:
                continue
            found = [result.score("pearson", reference) for reference in (REFERENCE, INPUT)]
            rows.append([f"`{label}`", *(interval(score.value, score.ci) for score in found)])
        ceilings = [run.any.score("pearson", r).ceiling for r in (REFERENCE, INPUT)]
        rows.append(["*ceiling*", *(interval(c.value, c.ci) for c in ceilings)])
        labels = run.judged()
        tau = rank_agreement(
            *([run.column(label, "pearson", r) for label in labels] for r in (REFERENCE, INPUT)),
            run.clusters,
            seed=0,
        )
        lines += [f"### {run.name}", "", *_estimates(run)]
        lines += table(["method", "encoder frames hidden", "spectrogram hidden"], rows)
        of_frames, of_sound = (_first(run, labels, r) for r in (REFERENCE, INPUT))
        lines += [
            f"Of {len(labels)} methods `{of_frames}` leads where encoder frames are hidden, `{of_sound}` where the",
            f"spectrogram is; Kendall's tau between the two orders: {shown(tau)}.",
            "",
        ]
    return lines


def _first(run: Run, labels: Sequence[str], reference: str) -> str:
    """Return the method with the highest score against a reference."""
    known = {label: run.results[label].score("pearson", reference).value for label in labels}
    return max((value, label) for label, value in known.items() if value is not None)[1]


def _estimates(run: Run) -> list[str]:
    """Say of how many clips the references of a run are, and what those of the spectrogram took."""
    few = all(result.score("pearson", INPUT).ci is None for result in run.results.values())
    found = next(r for r in run.any.references if r.name == INPUT)
    masks = found.masks_per_utterance
    assert masks is not None
    speakers = f"{run.any.task.dataset.n} clips of {run.any.scores[0].n_clusters} speakers"
    return [
        f"{speakers}{', too few for intervals' if few else ''}; masks of the spectrogram per clip (min /",
        f"median / max): {masks.min} / {masks.median:.0f} / {masks.max}.",
        "",
    ]


_HEAD = """# Findings on real Whisper and real speech

This page is made by `python scripts/findings.py` from the result files under `submissions/`; no number on it
is typed in. The runs are made by `python scripts/real_results.py MODEL_FOLDER TRACK --most N`, N being
{most}. `scripts/real_clips.py` chooses the clips before any model hears them: of
each speaker the shortest of 2 to 15 s, and for English those with word times. Where a source names no speaker a clip
counts as one, so that intervals may be too short. A clip can be in several tracks; all tracks together have {distinct}
clips. Where they come from stands in `packs/clips/`, their references in `packs/`. Intervals are 95 % over speakers.

Maps are judged against `spes-encoder`: encoder frames are hidden at random, thousands of times (each time is a
*mask*), and the divergence of the output says how much each token needs each frame. Masks are added until the
*reliability*, how much of it a second estimate would find again, is estimated at 0.9 for a clip, on clips of word
times at 0.8. So maps are asked what the *decoder* takes from which encoder frame, not which sound a frame rests on.
The latter is what `spes-input` asks, which hides parts of the spectrogram; on a CPU it takes from minutes to hours
per clip, {input}
"""

_WORDS = {
    "what": """## What was run

Poor clips are those whose text differs so much from the transcript that an explanation of it may mean little; they
are counted, not left out. Texts are compared as they are written: digits for number words (`words-en`) and
traditional for simplified Chinese characters (`asr-multi`, `words-multi`) count as errors. A fingerprint says which
clips these are.""",
    "half": """## (a) Is cross-attention half an explanation?

The paper (arXiv 2509.18010) reports correlations of 0.52 to 0.75 with the encoder reference for the best averages of
heads, of other models (Conformers) on other data, with each *frame* of the attention standardised over the tokens
first. `pearson-paper` is our reading of that protocol; `pearson` compares each token's row as it is. Beside each
score stands its share of the ceiling: what noise in the reference, and under the paper's protocol the protocol
itself, lets a map reach, as far as that can be estimated. *By effect*: per token, each token weighted by how much
hiding audio changes it, so that one which the text alone decides hardly counts.""",
    "sinks": """## (b) Sinks

A sink is a frame that takes attention from every token, whatever it says. The table gives the share of
cross-attention that each head's three most attended frames take of what it gives to frames with audio (mean over
layers and heads; uniform attention to 230 frames, which is 4.6 s, would give 1 %), and what four ways of taking sinks
out change in agreement per token; intervals hold for the comparisons of one row at once.""",
    "leaders": """## (c) Which methods lead, and does that hold?

Compared are the methods that read attention or gradients, without single heads. Gradients may be averaged over noisy
copies of the encoder's output (`smoothgrad-encoder`), or over points between it and zeros, to which the reference sets
hidden frames (`gradient-shap-encoder`); both were run on tiny.en only, so its leaders are those of a larger field.
Controls, and methods that hide parts themselves, are left out. "Not told apart": the difference to the first may be
chance, which of many methods with wide intervals does not say that they are as good. "Half width of an interval": of
the median simultaneous one; a method closer to the first than this may well be as good. Kendall's tau says how far two
orders agree (1 the same, 0 no relation), on the clips that both runs have, else on each run's own; its intervals are
of a bootstrap, which tends to lie below the value.""",
    "hiding": HIDING,
    "languages": OF_LANGUAGES,
    "references": """## Encoder frames or sound?

On a few of the shortest English clips, each of another speaker, both references were estimated to a reliability
of 0.9; padding is not computed again under a mask of the spectrogram where a check allows it (`padding=frozen`).""",
    "timing": """## (d) Agreement and word times

Clips with word times, English (`words-en`) and other (`words-multi`); a model without such runs stands with those clips
of its other runs that have word times. Times of natural speech are machine-made by an
aligner and off by tens of milliseconds themselves; those of joined recordings of single words (digits, Mandarin
words) are exact, but nobody speaks so; those of Hebrew yes and no are read from energy. Intervals are over speakers,
of whom seven or ten are few; where an interval begins at an error of 0, it was cut there, and the mean is hardly
known. References there stop at an estimated reliability of 0.8 or at 2,000 masks.""",
    "listening": LISTENING_WORDS,
    "heads": HEADS,
    "usefulness": USEFULNESS,
    "architectures": ARCHITECTURES,
    "unknown": """## (e) How many masks real speech needs

The first table has them per clip: what an estimated reliability of 0.9 (0.8 for word times) took with the
`window-control-variate` estimator.

## (f) What is not known

- One family (Whisper) in its smallest sizes. Nothing here says that larger models behave alike.
- Few speakers: the first table has how many. Many clips are read speech from books and the news; hardly
  any is noisy or spontaneous conversation.
- The clips were gathered from public repositories' test recordings. Whisper may have heard some of them in
  training; nobody outside can tell.
- The reference hides encoder frames. The encoder mixes the whole clip into each of them, so {sound}
- A reliability of 0.9 leaves noise: ceilings say how much, and disattenuated values correct means, not single
  clips.
- `best-head`, `top-k-heads`, `greedy-heads` and `corpus-mean` learn from dev clips, which the runs above do not
  have; "Which heads?" splits their clips.
- Some clips are of Europarl-ST, whose recordings and translations are under CC BY-NC 4.0.""",
}


def page(
    every: Sequence[Run],
    demo: Sequence[RunResult],
    sibling: Sequence[RunResult],
    others: Sequence[tuple[Run, Run]],
) -> str:
    """Write the whole page. others: both packaged models on the demo's other tasks."""
    parts = []
    timed = [run for run in every if run.any.task.name == "word-times"]
    runs = [run for run in every if len(run.any.references) == 1 and run not in timed]
    untimed = [run for run in runs if run.model not in {one.model for one in timed}]
    both = [run for run in every if len(run.any.references) > 1]
    estimated = (
        "so few clips have it, in a section of its own." if both else "and was not estimated."
    )
    sound = (
        'only the few clips of\n  "Encoder frames or sound?" say which *sound* matters.'
        if both
        else "nothing here says which\n  *sound* matters."
    )
    parts.append(
        _HEAD.replace("{most}", sizes([run for run in every if run not in timed]))
        .replace("{distinct}", str(len({i for run in every for i in run.any.utterances["id"]})))
        .replace("{input}", estimated)
    )
    cross, own = demo_run(demo), demo_run(sibling)
    for name, body in (
        ("what", what(every)),
        ("half", half(runs)),
        ("sinks", sinks(runs)),
        ("leaders", [*leaders(runs), *agreement(runs, cross)]),
        *([("hiding", hiding)] if (hiding := tried_out(runs)) else []),
        ("languages", by_language(runs)),
        *([("references", both_references(both))] if both else []),
        ("heads", heads()),
        ("timing", [*timing([*timed, *untimed]), *word_times()]),
        ("listening", listening()),
        ("usefulness", usefulness()),
        *([("architectures", architectures(cross, own, others))] if cross and own else []),
        ("unknown", []),
    ):
        parts += [_WORDS[name].replace("{sound}", sound), "", *body]
    return "\n".join(parts).rstrip() + "\n"


def main() -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=ROOT / "submissions")
    demo = ROOT / "submissions" / "demo-asr-en" / "xbench-tiny"
    parser.add_argument("--demo", type=Path, default=demo)
    sibling = demo.with_name("xbench-tiny-lm")
    parser.add_argument("--sibling", type=Path, default=sibling, help="the same clips, other model")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "findings.md")
    given = parser.parse_args()
    runs = runs_of(load_results(given.results))
    if not runs:
        raise SystemExit(f"{given.results} holds no results on clips called real-speech-...")
    others = sibling_runs(given.demo, given.sibling)
    written = page(runs, load_results(given.demo), load_results(given.sibling), others)
    given.out.write_text(written, "utf-8")


if __name__ == "__main__":
    main()
