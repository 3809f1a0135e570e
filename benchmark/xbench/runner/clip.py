"""Explain one clip: transcribe or translate it, and compute maps of the hypothesis, references too where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.case import Case
from xbench.data.audio import audio_sha256
from xbench.data.manifest import Utterance
from xbench.errors import Disturbed, Unsupported, UsageError, UtteranceError
from xbench.maps import GridMap, on_encoder_grid
from xbench.methods.watch import Watch
from xbench.metrics import Score
from xbench.metrics.batch import Maps, score_all
from xbench.models.optional import WritesTokens, offers
from xbench.models.protocol import SpeechModel
from xbench.references.reliability import NO_RELIABILITY, utterance_reliability
from xbench.runner import compare, stages
from xbench.runner.bench import Bench, load_or_check
from xbench.runner.explanation import Band, Estimate, Explanation, whole_characters
from xbench.runner.keys import Job, Spoken, reference_key
from xbench.runner.plan import Method, with_overrides
from xbench.runner.progress import SILENT, Reporter
from xbench.spec import Call, RunSpec, TaskSpec
from xbench.store import Store, default_folder
from xbench.tasks import load_task


def explain(
    audio: str | Path,
    model: Any,
    method: Any,
    *,
    reference: Any = (),
    language: str = "en",
    target_language: str | None = None,
    device: str = "auto",
    cache: str | None = None,
    trust_remote_code: bool = False,
    reporter: Reporter = SILENT,
) -> Explanation:
    """Explain one audio file; raises UsageError when the clip, a method or a reference cannot be used.

    model: a name, or a loaded model. method: a call, a text that is read as one, or a function (`xbench.method`); or
    several of them in a list. reference: one or several references, estimated with the masks of the preset `fast`
    where the call gives none; methods are scored against the first. cache: the store that keeps references (as runs
    do), None for the user's own.
    """
    methods = [_one_map(Method.of(each)) for each in _several(method)]
    if not methods:
        raise UsageError("no method is given; use --method NAME, see `xbench list methods`")
    path = Path(audio)
    try:
        # A missing file, and a reference that there is not, are told before a model is loaded.
        job = _job(path, language, target_language, _several(reference))
        references = job.task.references if reference else ()
        loaded = load_or_check(model, device, trust_remote_code=trust_remote_code)
        store = Store(Path(cache) if cache else default_folder())
        return _explain(job, Bench(loaded, store), methods, references, reporter)
    except (Unsupported, Disturbed) as problem:
        raise UsageError(str(problem)) from None
    except UtteranceError as problem:
        raise UsageError(f"{path.name}: {str(problem).removeprefix(f'{path}: ')}") from None


def _several(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _one_map(method: Method) -> Method:
    """Refuse a method of which one clip has no map, or several."""
    if method.description.fit or "partner" in method.description.needs:
        raise UsageError(
            f"'{method.call}' needs other utterances; use `xbench eval`, explain has one clip"
        )
    if "*" in method.call.given.values():
        raise UsageError(f"'{method.call}': explain shows one map; give a number instead of *")
    return method


def _job(path: Path, language: str, target_language: str | None, references: Sequence[Any]) -> Job:
    """Return the clip under the generic task of its kind, with these references where there are any."""
    task = load_task("st" if target_language else "asr")
    spec = RunSpec(model="", methods=(), references=references)
    utterance = Utterance(
        id=path.name,
        audio=path,
        language=language,
        transcript="",
        translations=(),
        cluster=path.name,
        cluster_assumed=True,
        words=None,
        audio_sha256=audio_sha256(path),
    )
    task = replace(with_overrides(task, spec), target_language=target_language)
    return Job(task, utterance, seed=0)


def _explain(
    job: Job,
    bench: Bench,
    methods: Sequence[Method],
    references: Sequence[Call],
    reporter: Reporter,
) -> Explanation:
    model, info = bench.model, bench.info
    for call in references:
        if why := compare.unsupported_reference(info, call.name):
            raise UsageError(f"reference '{call.name}': {why}")
    spoken = Spoken(job, stages.decode_once(model, job))
    if not spoken.decoded.hypothesis.content:
        raise UtteranceError("empty-hypothesis", "the model writes nothing for it")
    case = stages.traced(model, spoken, methods)
    maps = [_map(method, case, spoken, bench.watch) for method in methods]
    bench.watch.look()
    targets = _estimated(bench, spoken, references, reporter) if references else []
    axes, hypothesis = spoken.decoded.layout, spoken.decoded.hypothesis
    content = list(axes.content)
    scores = _agreement(job.task, maps, targets[0][1], spoken) if targets else [None] * len(maps)
    bands = [
        Band(method.call, grid.values[content], agreement=score)
        for method, grid, score in zip(methods, maps, scores, strict=True)
    ]
    bands += [
        Band(call, grid.values[content], estimate=estimate) for call, grid, estimate in targets
    ]
    rows, row_texts = _rows(model, spoken)
    return Explanation(
        audio=job.utterance.audio.name,
        model=model.info,
        text=hypothesis.text,
        tokens=tuple(hypothesis.texts[i] for i in content),
        rows=rows,
        row_texts=row_texts,
        bands=tuple(bands),
        metric=job.task.headline.metric if references else None,
        spectrogram=case.features.valid.float().cpu().numpy(),
        frame_seconds=axes.stride * axes.melframe_seconds,
        seconds=spoken.decoded.seconds_of_audio,
    )


def _map(method: Method, case: Case, spoken: Spoken, watch: Watch) -> GridMap:
    try:
        values = stages.map_of(method, case, watch)
    except Unsupported as problem:
        raise UsageError(f"'{method.call}': {problem}") from None
    return method.on_grid(values, spoken.decoded.layout, spoken.job.task.scoring)


def _estimated(
    bench: Bench, spoken: Spoken, references: Sequence[Call], reporter: Reporter
) -> list[tuple[Call, GridMap, Estimate]]:
    """Estimate the references, or take them from the store; return each with how far it can be trusted."""
    with reporter.stage("reference", sum(map(stages.steps_of, references))) as progress:
        stages.refer(bench, spoken, progress)
    task, axes = spoken.job.task, spoken.decoded.layout
    metric = registry.metrics.get(task.headline.metric)
    found = []
    for call in references:
        stored = bench.shelf.artefact(reference_key(bench.info, spoken, call))
        reference = compare.read_reference(call, stored)
        mean = on_encoder_grid(reference.mean(), axes, task.scoring)
        halves = compare.on_grid(reference.halves(), axes, task.scoring)
        estimate = Estimate(
            masks=sum(reference.facts().masks),
            reliability=utterance_reliability(*halves, axes) if halves else NO_RELIABILITY,
            ceiling=compare.ceiling_of(
                metric.ceiling, metric.no_ceiling, mean, halves, axes, spoken.job
            ),
        )
        found.append((call, mean, estimate))
    return found


def _agreement(
    task: TaskSpec, maps: Sequence[GridMap], reference: GridMap, spoken: Spoken
) -> Sequence[Score]:
    """Score the maps of all methods against one reference by the metric that the task is ranked by."""
    call = next(call for call in task.metrics if call.name == task.headline.metric)
    axes = spoken.decoded.layout
    judged = score_all(
        registry.metrics.get(call.name),
        call.given,
        Maps.of(maps, axes),
        Maps.of([reference], axes),
        task.scoring,
        None,
    )
    return judged.scores


def _rows(model: SpeechModel, spoken: Spoken) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return which tokens are shown together, and what they write; each alone where the model does not say."""
    hypothesis = spoken.decoded.hypothesis
    texts = [hypothesis.texts[i] for i in hypothesis.content]
    if not offers(model, WritesTokens):
        return (1,) * len(texts), tuple(texts)
    ids = [hypothesis.tokens[i] for i in hypothesis.content]
    return whole_characters(texts, lambda first, end: model.written(ids[first:end]))
