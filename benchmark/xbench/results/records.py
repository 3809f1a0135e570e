"""The parts of a result as dataclasses; what each field means stands in `schemas/result.schema.json`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from xbench.authorship import Authorship
from xbench.spec import Call, Scalar

if TYPE_CHECKING:
    from xbench.stats import Estimate


@dataclass(frozen=True)
class DatasetRecord:
    """Which utterances: dataset, revision, content fingerprint, how many."""

    name: str
    revision: str | None
    fingerprint: str
    n: int


@dataclass(frozen=True)
class TaskRecord:
    """The resolved task and the part of it that was run."""

    name: str
    version: int
    hash: str
    kind: str
    source_language: list[str]
    target_language: str | None
    preset: str
    split: str
    selection: dict[str, Any]
    scoring: dict[str, Any]
    decoding: dict[str, Any]
    headline: dict[str, str]
    floor: str
    dataset: DatasetRecord


@dataclass(frozen=True)
class ModelRecord:
    """Which weights were explained, in which precision.

    format: that of the checkpoint's files. base: source and revision of what an adapter was merged into.
    """

    name: str
    source: str
    revision: str
    architecture: str
    n_parameters: int
    precision: str
    remote_code: bool
    format: str | None = None
    base: str | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """Name and revision: two checkpoints of one name, such as `checkpoint-1000`, are two models."""
        return self.name, self.revision


@dataclass(frozen=True)
class FittedRecord:
    """What a method learned: from the dev split, or from the test utterances (`oracle`)."""

    split: Literal["dev", "oracle"]
    n: int
    choice: dict[str, Any]


@dataclass(frozen=True)
class MethodRecord:
    """The method with all its parameters; authorship: None in older files."""

    name: str
    version: str
    params: dict[str, Scalar]
    kind: str
    space: str
    signed: bool
    uses_gradients: bool
    distribution: bool
    fitted: FittedRecord | None = None
    authorship: Authorship | None = None

    @property
    def label(self) -> str:
        """The method as one writes it, `name:key=value`, marked where it learned from the test clips."""
        call = str(Call.make(self.name, self.params))
        return f"{call} (oracle)" if self.fitted and self.fitted.split == "oracle" else call


@dataclass(frozen=True)
class Interval:
    """A number with its interval; `reason` says why `value` is null, `ci_reason` why `ci` is."""

    value: float | None
    ci: list[float] | None
    reason: str | None
    ci_reason: str | None

    @classmethod
    def of(cls, estimate: Estimate) -> Interval:
        """Return an estimate as result files state it."""
        low, high = estimate.low, estimate.high
        ends = None if low is None or high is None else [low, high]
        return cls(estimate.value, ends, estimate.reason, estimate.ci_reason)


@dataclass(frozen=True)
class CeilingRecord:
    """An interval with the ceiling's second estimate and its structural part."""

    value: float | None
    ci: list[float] | None
    reason: str | None
    ci_reason: str | None
    lower: float | None
    structural: float | None


@dataclass(frozen=True)
class MaskCounts:
    """How many masks the utterances took, both halves together."""

    min: int
    median: float
    max: int


# In a row with a reliability below this, more than half of the variance is noise. Such rows are
# counted but not left out: the paper's protocol gives them the same weight as all others.
RELIABLE_ROW = 0.5


@dataclass(frozen=True)
class UnreliableRows:
    """How many rows (content tokens) have a reliability below the bound, or none at all."""

    bound: float
    below: int
    undefined: int
    n: int


@dataclass(frozen=True)
class AudioTokens:
    """How many content tokens depend on the audio: those with at least `bound` of the largest effect of their clip."""

    bound: float
    depend: int
    n: int


@dataclass(frozen=True)
class RivalRecord:
    """What another reference of the run, with cells of the same kind, scores as a method by `pearson` against this one.

    ceiling: the second ceiling, what the other one would score without noise of its own: mean score / mean
    sqrt(its reliability).
    """

    reference: str
    score: Interval
    ceiling: Interval


@dataclass(frozen=True)
class ReferenceRecord:
    """One reference over all utterances: how it was made and how reliable it is.

    rivals: the other references of the run that hide cells of the same kind; empty in older files.
    """

    name: str
    version: str
    params: dict[str, Scalar]
    estimator: str
    masks: list[int]
    neutral_value: str | None
    reliability: Interval
    ceiling: dict[str, CeilingRecord]
    converged: bool | None
    kept: float | None
    forward_passes: int
    seconds: float
    masks_per_utterance: MaskCounts | None = None
    converged_share: float | None = None
    unreliable_rows: UnreliableRows | None = None
    audio_tokens: AudioTokens | None = None
    rivals: list[RivalRecord] = field(default_factory=list)
    computation: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class QualityRecord:
    """How good the explained hypotheses are."""

    metric: str
    value: float | None
    n: int
    poor: int
    poor_threshold: float
    reason: str | None


@dataclass(frozen=True)
class ScoreRecord:
    """One metric against one reference, with everything needed to read it.

    metric_params: complete. metric_version: None in files that were made before it was kept. weighted: the score with
    each token weighted by its effect, and weighted_floor to weighted_disattenuated what `floor` to `disattenuated` are
    to the plain one; None in older files, and for metrics without a reference. tokens_left_out:
    content tokens that do not enter means over tokens, by reason, summed over utterances. computation: how passes with
    hidden cells were run, for metrics by intervention.
    """

    metric: str
    reference: str | None
    value: float | None
    reason: str | None
    ci: list[float] | None
    ci_reason: str | None
    n: int
    n_clusters: int
    clusters_assumed: bool
    undefined: dict[str, int]
    floor: Interval
    ceiling: CeilingRecord
    skill: Interval
    disattenuated: Interval
    direction: Literal["higher", "lower"]
    metric_params: dict[str, Scalar] = field(default_factory=dict)
    metric_version: str | None = None
    weighted: Interval | None = None
    weighted_floor: Interval | None = None
    weighted_ceiling: Interval | None = None
    weighted_skill: Interval | None = None
    weighted_disattenuated: Interval | None = None
    tokens_left_out: dict[str, int] = field(default_factory=dict)
    computation: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What the method took, measured when its maps were made; null for maps made elsewhere."""

    forward_passes: int | None
    backward_passes: int | None
    seconds: float | None
    seconds_per_audio_second: float | None
    peak_memory_bytes: int | None
    device: str


@dataclass(frozen=True)
class SinksRecord:
    """Share of attention on the most attended frames of each head, means over the utterances.

    frames: how many frames that is. heads: the share of each head, by layer. mean: over all of them.
    """

    frames: int
    mean: float
    heads: list[list[float]]

    @classmethod
    def over(cls, stated: Sequence[list[list[float]] | None], frames: int) -> SinksRecord | None:
        """Average the shares that traces state, [layer][head] each; None where one of them does not.

        Rounded, so that hundreds of heads stay a small part of a file.
        """
        known = [shares for shares in stated if shares is not None]
        if not known or len(known) < len(stated):
            return None  # of some utterances alone it would be another number for each method
        heads = [
            [math.fsum(shares) / len(known) for shares in zip(*rows, strict=True)]
            for rows in zip(*known, strict=True)
        ]
        every = [share for row in heads for share in row]
        mean = round(math.fsum(every) / len(every), 4)
        return cls(frames, mean, [[round(share, 3) for share in row] for row in heads])


@dataclass(frozen=True)
class Provenance:
    """Which code, packages and command made the result."""

    xbench: str
    python: str
    packages: dict[str, str]
    git: dict[str, Any] | None
    plugins: list[dict[str, str]]
    command: list[str]
    seed: int
    spec_hash: str
    started: str
    finished: str


@dataclass(frozen=True)
class PackRecord:
    """The pack that holds the hypotheses and references of the run: its file name and checksum."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Failure:
    """One utterance that was not scored, and why."""

    id: str
    reason: str
    message: str


@dataclass(frozen=True)
class GateRecord:
    """One sanity check of the method: it passes or not, and is never part of a score.

    value, ci: the number that is judged; threshold: what it is held against; n: utterances.
    """

    name: str
    status: Literal["pass", "fail", "not-applicable"]
    value: float | None
    ci: list[float] | None
    threshold: float | None
    n: int
    reason: str | None


def short_labels(methods: Sequence[MethodRecord]) -> list[str]:
    """Return a label per method with only the parameters in which methods of its name differ."""
    by_name: dict[str, list[MethodRecord]] = {}
    for method in methods:
        by_name.setdefault(method.name, []).append(method)
    telling = {
        name: {
            key
            for member in members
            for key in member.params
            if any(other.params.get(key) != member.params[key] for other in members)
        }
        for name, members in by_name.items()
    }
    return [
        replace(m, params={k: v for k, v in m.params.items() if k in telling[m.name]}).label
        for m in methods
    ]


def model_labels(models: Iterable[ModelRecord]) -> dict[tuple[str, str], str]:
    """Return a label per model by its identity: its name, and the start of its revision where others have the name."""
    found = list(dict.fromkeys(model.identity for model in models))
    uses = Counter(name for name, _ in found)
    return {
        (name, revision): name if uses[name] == 1 else f"{name} ({_start(revision, name, found)})"
        for name, revision in found
    }


def _start(revision: str, name: str, found: Sequence[tuple[str, str]]) -> str:
    """Return as much of a revision as tells it from the others of this name, at least eight characters."""
    others = [other for same, other in found if same == name and other != revision]
    length = 8
    while length < len(revision) and any(o.startswith(revision[:length]) for o in others):
        length += 1
    return revision[:length]


def undefined_counts(reasons: Iterable[str | None]) -> dict[str, int]:
    """Count the reasons why values are missing, sorted by reason."""
    counts: dict[str, int] = {}
    for reason in reasons:
        if reason is not None:
            counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items()))


def column_name(metric: str, reference: str | None) -> str:
    """Return the name of the per-utterance column of a score."""
    return metric if reference is None else f"{metric}@{reference}"


def rival_column(judge: str, rival: str) -> str:
    """Return the name of the per-utterance column of what one reference scores against another."""
    return f"rival:{rival}@{judge}"
