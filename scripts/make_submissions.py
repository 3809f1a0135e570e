"""Make the results under submissions/: all methods on the demo suite and on real speech.

    python scripts/make_submissions.py demo  [--model xbench-tiny] [--out submissions] [--cache DIR] [--kinds KIND ...]
                                             [--tasks TASK ...] [--limit N]
    python scripts/make_submissions.py cross-model --shared ../shared [--out ...] [--cache DIR] [--kinds KIND ...]

`cross-model` first transcribes every clip of the shared folder with each of its models. Clips with a WER (for
translation: a chrF) beyond the bound are reported in docs/cross-model.md and left out: an explanation of nonsense
explains nothing. Nothing that is stored is computed again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xbench import registry
from xbench.data.manifest import Utterance, read_manifest
from xbench.errors import UtteranceError
from xbench.metrics.quality import utterance_quality
from xbench.models.loading import load_model
from xbench.results import RunResult, short_labels
from xbench.runner.bench import Bench
from xbench.runner.evaluate import evaluate
from xbench.runner.keys import Job
from xbench.runner.stages import decode
from xbench.spec import Call, ExecutionOptions, RunSpec
from xbench.store import Store, default_folder
from xbench.tasks import load_task

ROOT = Path(__file__).parents[1]
AGREEMENT = ("pearson", "pearson-paper", "spearman", "auroc", "js-divergence", "emd")
INTERVENTION = ("deletion-auc", "insertion-auc", "sensitivity-n")
# Those of the demo tasks: deletion and insertion of every method and token would take hours there.
DEMO_METRICS = (*AGREEMENT, "sensitivity-n")
# Their defaults take tens of seconds of two cores a clip on the spectrogram.
CHEAPER = {
    "integrated-gradients": "steps=8",
    "kernel-shap": "samples=200",
    "lime": "samples=200",
    "rise": "samples=300",
    "smoothgrad": "samples=4",
    "gradient-shap": "samples=4",
    "feature-ablation": "segments=40",
    "spes": "masks=504",
}
KINDS = ("attention", "control", "gradient", "perturbation")
FLOORS = {"demo": "diagonal:width=0.2", "cross-model": "diagonal:width=0.1"}


@dataclass(frozen=True)
class Track:
    """A model on a task over the clips it understands: a WER of at most `bound` %, or a chrF of at least it."""

    model: str
    folder: str
    task: str
    bound: float


TRACKS = (
    Track("whisper:{}", "whisper-micro-en-zh-he", "asr", 20.0),
    Track("whisper:{}", "whisper-micro-en-zh-he", "st", 80.0),
    Track("speech_to_text:{}", "speech2text-micro-en-zh-he-to-en", "st", 80.0),
)


def methods(part: str, kinds: Sequence[str]) -> tuple[Call, ...]:
    """Return the calls of a part: every registered method of these kinds."""
    calls = [Call.parse("raw-attention:layer=*,head=*"), Call.parse("mean-layers:head=*")]
    for description in registry.methods.descriptions():
        if description.kind not in kinds:
            continue
        if any(parameter.required for parameter in description.parameters):
            continue
        cheaper = CHEAPER.get(description.name)
        calls.append(Call.parse(f"{description.name}:{cheaper}" if cheaper else description.name))
    return tuple(dict.fromkeys([*calls, Call.parse(FLOORS[part])]))


def demo(
    options: ExecutionOptions,
    model: str,
    limit: int | None,
    kinds: Sequence[str],
    tasks: Sequence[str],
) -> None:
    """Evaluate methods of these kinds on the demo tasks with a packaged model."""
    spec = RunSpec(
        model=model,
        methods=methods("demo", kinds),
        tasks=tuple(tasks),
        metrics=tuple(Call(name) for name in DEMO_METRICS),
    )
    if limit:
        spec = replace(spec, selection=replace(spec.selection, limit=limit))
    evaluate(spec, options)


def cross_model(options: ExecutionOptions, shared: Path, kinds: Sequence[str]) -> None:
    """Evaluate each model on the real clips it understands, and write the page about them."""
    manifest = read_manifest(shared / "audio" / "manifest.jsonl")
    parts = []
    for track in TRACKS:
        heard = transcribed(track, manifest.utterances, shared, options)
        good = [name for name, row in heard.items() if row["understood"]]
        results = run(track, good, shared, options, kinds)
        parts.append(section(track, heard, results))
    page = "# Models on real speech\n\n" + _HEAD + "\n\n" + "\n\n".join(parts) + "\n"
    (ROOT / "docs" / "cross-model.md").write_text(page, "utf-8")


def transcribed(
    track: Track, utterances: Sequence[Utterance], shared: Path, options: ExecutionOptions
) -> dict[str, dict]:
    """Return what the model writes for every clip, how good it is, or why it was refused."""
    model = load_model(track.model.format(shared / "models" / track.folder))
    bench = Bench(model, Store(Path(options.cache) if options.cache else default_folder()))
    task = load_task(track.task)
    if track.task == "st":
        task = replace(task, target_language="en")
    rows: dict[str, dict] = {}
    for utterance in utterances:
        row: dict = {"language": utterance.language, "understood": False, "quality": None}
        rows[utterance.id] = row
        target = utterance.target_text(task.target_language)
        if target is None:
            row["why"] = "no translation into English"
            continue
        try:
            text = decode(bench, Job(task, utterance, 0)).hypothesis.text
        except UtteranceError as problem:
            row["why"] = problem.reason
            continue
        language = task.target_language or utterance.language
        quality = utterance_quality(task.quality, text, target, language)
        row["quality"] = quality
        above = task.quality.metric != "wer"
        row["understood"] = quality is not None and (
            quality >= track.bound if above else quality <= track.bound
        )
        row["why"] = "" if row["understood"] else "beyond the bound"
    return rows


def run(
    track: Track,
    ids: Sequence[str],
    shared: Path,
    options: ExecutionOptions,
    kinds: Sequence[str],
) -> list[RunResult]:
    """Evaluate methods of these kinds on these clips, as a manifest of their own."""
    lines = (shared / "audio" / "manifest.jsonl").read_text("utf-8").splitlines()
    kept = [json.loads(line) for line in lines if json.loads(line)["id"] in ids]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"real-speech-{track.folder}-{track.task}.jsonl"
        for line in kept:
            line["audio"] = str((shared / "audio" / line["audio"]).resolve())
        path.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        spec = RunSpec(
            model=track.model.format(shared / "models" / track.folder),
            methods=methods("cross-model", kinds),
            tasks=(track.task,),
            data=str(path),
            references=(
                Call.parse("spes-encoder:until=0.9,masks=20000,estimator=window-control-variate"),
            ),
            metrics=tuple(Call(name) for name in (*AGREEMENT, *INTERVENTION)),
        )
        return evaluate(spec, options)


_HEAD = """Made by `python scripts/make_submissions.py cross-model --shared ../shared`: the two small models that
were trained on real recordings, on the real clips that they understand. Few clips of few speakers: these tables show
that the instrument runs on two families and what it says, not which method is best in general. The result files lie
under `submissions/`; so do those of `xbench-tiny` on its own clips
(`python scripts/make_submissions.py demo`, [demo.md](demo.md)). The method `spes-encoder` is the reference's own
estimator with masks of its own: what a second estimate of 2,000 masks scores, not a rival."""


def section(track: Track, heard: dict[str, dict], results: Sequence[RunResult]) -> str:
    """Write one track: which clips, and the methods by headline."""
    metric = load_task(track.task).quality.metric
    sign = "at most" if metric == "wer" else "at least"
    rows = [
        f"| {name} | {row['language']} | {_number(row['quality'], 1)} | "
        f"{'yes' if row['understood'] else row['why']} |"
        for name, row in heard.items()
    ]
    shown = [r for r in results if r.status != "unsupported"]
    names = short_labels([r.method for r in shown])
    columns = [
        ("pearson", "spes-encoder"),
        ("pearson-paper", "spes-encoder"),
        *((m, None) for m in INTERVENTION),
    ]
    scores = []
    for name, result in sorted(
        zip(names, shown, strict=True), key=lambda pair: -(pair[1].score(*columns[0]).value or -9)
    ):
        head = result.score(*columns[0])
        cells = [
            _number(head.value),
            _number(head.ceiling.value),
            _number(head.disattenuated.value),
        ]
        cells += [_number(result.score(*column).value) for column in columns[1:]]
        scores.append(f"| {name} | {' | '.join(cells)} |")
    unsupported = [
        f"- {name}: {r.reason}"
        for r in results
        if r.status == "unsupported"
        for name in [r.method.label]
    ]
    what = "transcription" if track.task == "asr" else "translation into English"
    head = shown[0].score(*columns[0])
    reference = shown[0].references[0]
    return "\n".join(
        [
            f"## {track.folder}, {what}",
            "",
            f"Clips with a {metric} of {sign} {track.bound:g}: {head.n}, in {head.n_clusters} clusters. Reference "
            f"spes-encoder, estimated reliability {_number(reference.reliability.value)}.",
            "",
            f"| method | pearson | ceiling | disattenuated | pearson-paper | {' | '.join(INTERVENTION)} |",
            "|---|---|---|---|---|---|---|---|",
            *scores,
            "",
            *(["Unsupported:", "", *unsupported, ""] if unsupported else []),
            f"| clip | language | {metric} | used |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def main() -> None:
    """Read the command line and make one part."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("part", choices=("demo", "cross-model"))
    models = ("xbench-tiny", "xbench-tiny-lm")
    parser.add_argument("--model", default=models[0], choices=models, help="demo: this model")
    parser.add_argument("--out", default=str(ROOT / "submissions"))
    parser.add_argument("--cache")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument(
        "--limit", type=int, help="demo: the first N clips of each task, for a look"
    )
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, help="only these")
    parser.add_argument("--tasks", nargs="+", default=["demo"], help="demo: only these")
    arguments = parser.parse_args()
    options = ExecutionOptions(output=arguments.out, cache=arguments.cache)
    if arguments.part == "demo":
        demo(options, arguments.model, arguments.limit, arguments.kinds, arguments.tasks)
    else:
        cross_model(options, arguments.shared, arguments.kinds)


if __name__ == "__main__":
    main()
