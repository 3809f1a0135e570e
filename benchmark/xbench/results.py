"""The result of one run, as dataclasses and as schema-checked JSON (`xbench.result/1`).

What each field means stands in `schemas/result.schema.json`, the public contract; a test holds the
two against each other.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from xbench.errors import UsageError
from xbench.notebook import result_html
from xbench.schemas import InvalidFile, problems
from xbench.spec import Call, Scalar, slug
from xbench.store import write_atomically

SCHEMA = "xbench.result/1"


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
    """Which weights were explained, in which precision."""

    name: str
    source: str
    revision: str
    architecture: str
    n_parameters: int
    precision: str
    remote_code: bool


@dataclass(frozen=True)
class FittedRecord:
    """What a method learned: from the dev split, or from the test utterances (`oracle`)."""

    split: Literal["dev", "oracle"]
    n: int
    choice: dict[str, Any]


@dataclass(frozen=True)
class MethodRecord:
    """The method with all its parameters."""

    name: str
    version: str
    params: dict[str, Scalar]
    kind: str
    space: str
    signed: bool
    uses_gradients: bool
    distribution: bool
    fitted: FittedRecord | None = None

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


@dataclass(frozen=True)
class UnreliableRows:
    """How many rows (content tokens) have a reliability below the bound, or none at all."""

    bound: float
    below: int
    undefined: int
    n: int


@dataclass(frozen=True)
class ReferenceRecord:
    """One reference over all utterances: how it was made and how reliable it is."""

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

    metric_params: complete. tokens_left_out: content tokens that do not enter means over tokens,
    by reason, summed over utterances.
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
    tokens_left_out: dict[str, int] = field(default_factory=dict)


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


@dataclass(frozen=True)
class RunResult:
    """One model, one method, one task: scores with their uncertainty, and where they came from."""

    status: Literal["complete", "partial", "unsupported", "failed"]
    reason: str | None
    task: TaskRecord
    model: ModelRecord
    method: MethodRecord
    references: list[ReferenceRecord]
    quality: QualityRecord
    scores: list[ScoreRecord]
    utterances: dict[str, list[Any]]
    failures: list[Failure]
    cost: Cost
    provenance: Provenance
    padding_mass: float | None = None
    gates: list[GateRecord] = field(default_factory=list)
    schema: str = field(default=SCHEMA)

    def score(self, metric: str, reference: str | None = None) -> ScoreRecord:
        """Return the score of this metric (and reference, where several have it)."""
        for record in self.scores:
            if record.metric == metric and reference in (None, record.reference):
                return record
        have = ", ".join(f"{s.metric}@{s.reference}" for s in self.scores) or "none"
        raise UsageError(f"the result has no score '{metric}@{reference}'; it has {have}")

    def path(self) -> Path:
        """Return `<task>/<model>/<method>-<hash>.json`, relative to the results folder."""
        params = "-".join(f"{k}-{v}" for k, v in self.method.params.items())
        method = slug(f"{self.method.name}-{params}") if params else slug(self.method.name)
        name = f"{method}-{self.provenance.spec_hash[:8]}.json"
        return Path(slug(self.task.name)) / slug(self.model.name) / name

    def _repr_html_(self) -> str:
        return result_html(self)

    def to_json(self) -> str:
        """Serialise; raises ValueError on NaN or infinity, which no result may hold."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, folder: Path) -> Path:
        """Check against the schema and write atomically under `folder`; return the file's path."""
        text = self.to_json()
        found = problems("result", json.loads(text))
        if found:
            raise AssertionError(f"xbench made a result that breaks its own schema: {found[0]}")
        path = folder / self.path()
        write_atomically(path, text.encode())
        return path


def read_result(path: Path) -> RunResult:
    """Read and check one result file; raises UsageError with every problem in it."""
    try:
        data = json.loads(path.read_text("utf-8"), parse_constant=_refuse_constant)
    except OSError as problem:
        raise UsageError(f"{path}: {problem.strerror}") from None
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{path}: not valid JSON: {problem}") from None
    found = problems("result", data)
    if found:
        raise InvalidFile(str(path), found)
    result = _build(RunResult, data)
    assert isinstance(result, RunResult)
    return result


def load_results(*paths: str | Path) -> list[RunResult]:
    """Read result files, and all result files below folders, in the order of their paths."""
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder")
        found += sorted(path.rglob("*.json")) if path.is_dir() else [path]
    return [read_result(path) for path in found]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed; a missing value is null with a reason")


def _build(kind: Any, data: Any) -> Any:
    """Build nested dataclasses from plain data that the schema has already accepted."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        known = {f.name for f in fields(kind)}
        return kind(**{k: _build(hints[k], v) for k, v in data.items() if k in known})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        plain = [a for a in arguments if a is not type(None)]
        return data if data is None or len(plain) > 1 else _build(plain[0], data)
    if origin is list:
        return [_build(arguments[0], item) for item in data]
    if origin is dict:
        return {key: _build(arguments[1], item) for key, item in data.items()}
    return data


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
