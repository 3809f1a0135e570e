"""How far a run's texts lean on the audio, and how far on the text before each token. Loads the model.

Methods explain where in the audio a token comes from. Where the text before it decides, there is little to explain, and
a map says nothing (`hiding.prefix` has the formulas).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xbench import stats
from xbench.audit.stored_maps import scored
from xbench.case import Case
from xbench.errors import UsageError, UtteranceError
from xbench.hiding.prefix import leaning
from xbench.references.estimation import Sampling
from xbench.references.prefix import prefix_relevance
from xbench.results import RunResult
from xbench.runner import stages
from xbench.runner.bench import Bench, bench_of
from xbench.runner.keys import Job
from xbench.runner.rescore import grouped
from xbench.runner.verify import plan_of
from xbench.spec import ExecutionOptions

# A token of which neither source moves the distribution by this much (nats) leans on neither.
_SMALLEST = 1e-6


@dataclass(frozen=True)
class ClipLeaning:
    """What the tokens of one clip lean on.

    tokens: the content tokens. audio, text: their loss without either, in nats. share: that of the audio; None for
    the first token, which has no text before it, and where neither matters. relevance: [token, previous], of all
    generated tokens for the content tokens; None where no masks were asked for.
    """

    id: str
    cluster: str
    tokens: tuple[str, ...]
    audio: tuple[float, ...]
    text: tuple[float, ...]
    share: tuple[float | None, ...]
    relevance: list[list[float]] | None

    @property
    def mean_share(self) -> float | None:
        """The mean share over the tokens that have one."""
        known = [share for share in self.share if share is not None]
        return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class PrefixAudit:
    """What a run's clips lean on. share: mean over clips. failures: clips that could not be measured, with reasons."""

    task: str
    model: str
    clips: tuple[ClipLeaning, ...]
    share: stats.Estimate
    failures: tuple[tuple[str, str], ...]

    @property
    def mostly_text(self) -> float:
        """The share of tokens with text before them that lose more without it than without the audio."""
        known = [share for clip in self.clips for share in clip.share if share is not None]
        return float(np.mean([share < 0.5 for share in known])) if known else 0.0


def prefix_audit(
    results: Sequence[RunResult],
    *,
    options: ExecutionOptions,
    masks: int = 0,
    p: float = 0.5,
    sample: int | None = None,
    model: str | None = None,
    data: str | None = None,
) -> PrefixAudit:
    """Measure the clips of one run; masks: random masks per clip for the map of earlier tokens, 0 for none.

    sample, model, data: as for `xbench verify`. Raises UsageError for results of several runs, and where no clip can be
    measured.
    """
    usable = scored(results)
    if len(grouped(usable)) > 1:
        raise UsageError(
            "the results come from several runs; give results of one model on one task"
        )
    plan = plan_of(usable[0], sample=sample, model=model, data=data)
    bench = bench_of(plan, options)
    found, failures = [], []
    for utterance in plan.tasks[0].manifest.utterances:
        try:
            job = Job(plan.tasks[0].task, utterance, plan.spec.seed)
            found.append(_of_clip(bench, job, masks, p))
        except UtteranceError as problem:
            failures.append((utterance.id, problem.reason))
    if not found:
        raise UsageError(f"none of the {len(failures)} clips could be measured: {failures[0][1]}")
    shares = [clip.mean_share for clip in found]
    share = stats.mean_estimate(shares, [clip.cluster for clip in found], seed=plan.spec.seed)
    return PrefixAudit(
        plan.tasks[0].task.name, bench.info.name, tuple(found), share, tuple(failures)
    )


def _of_clip(bench: Bench, job: Job, masks: int, p: float) -> ClipLeaning:
    decoded = stages.decode(bench, job)
    if decoded.unexplained is not None:
        raise UtteranceError(decoded.unexplained, "the model wrote no text that could be explained")
    features, _ = stages.read_features(bench.model, job.utterance)
    case = Case(bench.model, features, decoded.hypothesis, job.utterance.audio_sha256)
    lost, content = leaning(case), decoded.hypothesis.content
    relevance = None
    if masks:
        sampling = Sampling(job.seed, bench.batch_size)
        relevance = prefix_relevance(case, sampling, masks=masks, p=p)[list(content)].tolist()
    audio, text = lost.audio.tolist(), lost.text.tolist()

    def share(token: int) -> float | None:
        moves = audio[token] + text[token] >= _SMALLEST
        return audio[token] / (audio[token] + text[token]) if token and moves else None

    return ClipLeaning(
        job.utterance.id,
        job.utterance.cluster,
        tuple(decoded.hypothesis.texts[token] for token in content),
        tuple(audio[token] for token in content),
        tuple(text[token] for token in content),
        tuple(share(token) for token in content),
        relevance,
    )
