"""Everything that determines a run, as frozen dataclasses, and the hashes made from them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from xbench.errors import UsageError

T = TypeVar("T")

Scalar = str | int | float | bool
Kind = Literal["asr", "st"]
LOCAL = "local"  # in the place of a package: a function or model of one session, which no package registers
FROM_USER = "manifest"  # the dataset of a task whose clips come with --data


def canonical_json(value: Any) -> str:
    """Serialise plain data so that equal data give equal text (sorted keys, no spaces, no NaN)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def content_hash(value: Any) -> str:
    """Return the SHA-256 of plain data, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def slug(text: str) -> str:
    """Reduce a name to `[a-z0-9.-]`, at most 80 characters, never a relative path."""
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")[:80].rstrip("-.") or "unnamed"


@dataclass(frozen=True, order=True)
class Call:
    """A registered name with parameters, written `name:key=value,key=value`."""

    name: str
    params: tuple[tuple[str, Scalar], ...] = ()

    @classmethod
    def make(cls, name: str, params: Mapping[str, Scalar]) -> Call:
        """Build a call with its parameters in sorted order, so that equal calls are equal."""
        return cls(name, tuple(sorted(params.items())))

    @classmethod
    def parse(cls, text: str) -> Call:
        """Read `name`, `dist:name` or either followed by `:key=value,...`."""
        head, separator, tail = text.rpartition(":")
        if not separator or "=" not in tail:
            head, tail = text, ""
        params: dict[str, Scalar] = {}
        for item in filter(None, tail.split(",")):
            key, equals, value = item.partition("=")
            if not equals or not key or not value:
                raise UsageError(f"'{text}': '{item}' is not key=value")
            if key in params:
                raise UsageError(f"'{text}': '{key}' is given twice")
            params[key] = value
        if not head or re.search(r"[\s,=]", head):
            raise UsageError(f"'{text}' is not a name, nor name:key=value,key=value")
        return cls.make(head, params)

    @property
    def given(self) -> dict[str, Scalar]:
        """The parameters by name; a dict of its own for each who asks."""
        return dict(self.params)

    def with_params(self, **params: Scalar) -> Call:
        """Return the same call with these parameters set."""
        return Call.make(self.name, {**self.given, **params})

    def __str__(self) -> str:
        params = ",".join(f"{k}={_show(v)}" for k, v in self.params)
        return f"{self.name}:{params}" if params else self.name


def _show(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Decoding:
    """How the hypothesis is found: beam width, blocked n-gram length (0 = none), length limit."""

    beams: int = 5
    no_repeat_ngram: int = 5
    max_tokens: int | None = None


@dataclass(frozen=True)
class Scoring:
    """How a map and a reference are brought together (protocol sections 4 and 7 of the paper).

    pool_frequency, pool_time: `max` or `mean` over the mel channels and over the window of one
        encoder frame; both `max` is the paper's 2-D max pooling.
    window: `block` (frames s*j ... s*j+s-1) or `centred` on the encoder frame's receptive field.
    last_frame: `keep` or `drop` the last encoder frame, whose window may be short.
    order: `pool-first` (pool, then standardise) or `normalise-first`.
    min_max: rescale each reference row to [0, 1] after standardising it.
    statistics: column statistics over `content` tokens only or over all `generated` ones.
    ddof: 0 (population) or 1 (sample) standard deviation; no effect on a correlation.
    """

    pool_frequency: Literal["max", "mean"] = "max"
    pool_time: Literal["max", "mean"] = "max"
    window: Literal["block", "centred"] = "block"
    last_frame: Literal["keep", "drop"] = "keep"
    order: Literal["pool-first", "normalise-first"] = "pool-first"
    min_max: bool = False
    statistics: Literal["content", "generated"] = "content"
    ddof: Literal[0, 1] = 0


@dataclass(frozen=True)
class Dataset:
    """Which utterances: a registered dataset (or `manifest`: given with --data) and its splits."""

    name: str
    split: str = "test"
    dev_split: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Quality:
    """How the explained hypotheses are judged, and from where on one counts as poor.

    metric: `wer` (percent, poor at or above `poor`), `bleu` or `chrf` (0-100, poor at or below).
    """

    metric: Literal["wer", "bleu", "chrf"]
    poor: float


@dataclass(frozen=True)
class Headline:
    """The one metric and reference a task is ranked by."""

    metric: str
    reference: str


@dataclass(frozen=True)
class TaskSpec:
    """One task as its file states it, after includes and preset.

    source_languages: empty means each clip's own language; target_language: None for ASR.
    references, metrics and floor are calls with all parameters filled in.
    """

    name: str
    version: int
    title: str
    kind: Kind
    source_languages: tuple[str, ...]
    target_language: str | None
    dataset: Dataset
    decoding: Decoding
    space: Literal["encoder", "input"]
    references: tuple[Call, ...]
    scoring: Scoring
    metrics: tuple[Call, ...]
    headline: Headline
    floor: Call
    quality: Quality
    preset: str
    licence: str

    @property
    def hash(self) -> str:
        """Hash of the task as it is run: all of the fields but title and licence, which no score depends on.

        Whether two results can be compared is decided by what the hash is made of (`submissions/README.md`).
        """
        return content_hash(self._hashed(asdict(self)))

    def is_of(self, hash_: str) -> bool:
        """Say whether a hash is that of this task: today's, or the one of older files, over title and licence too."""
        fields = asdict(self)
        return hash_ == content_hash(self._hashed(fields)) or hash_ == content_hash(fields)

    @staticmethod
    def _hashed(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name not in ("title", "licence")}


@dataclass(frozen=True)
class Selection:
    """A part of a split: these ids and/or the first `limit` utterances; nothing set = all."""

    ids: tuple[str, ...] = ()
    limit: int | None = None

    @property
    def partial(self) -> bool:
        """True when not the whole split is evaluated."""
        return bool(self.ids) or self.limit is not None


@dataclass(frozen=True)
class Shard:
    """Part `index` of `of` equal parts of the utterances, counted from 1."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `2/8`; raises UsageError."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard '{text}' is not I/N with I from 1 to N, such as 2/8")
        return cls(int(found[1]), int(found[2]))

    def part(self, utterances: Sequence[T]) -> Sequence[T]:
        """Return the utterances of this part."""
        return utterances[self.index - 1 :: self.of]


Texts = str | Iterable[str]
Calls = Call | str | Iterable[Call | str]


# In which precision references run perturbed passes where a task leaves it open (`xbench.models.device`).
PrecisionName = Literal["auto", "float32", "tf32", "bfloat16", "float16"]


@dataclass(frozen=True, init=False)
class RunSpec:
    """Everything that determines results: one model, methods, tasks, utterances, seed, precision.

    model: a name; or a loaded model, which its `info` alone identifies: whoever changes its weights gives `info`
        another revision.
    methods: calls as the user wrote them, `layer=*` sweeps included; functions too (`xbench.method`).
    tasks: names of tasks or suites; resolved task specs are made by `xbench.tasks`.
    data: path of a manifest that replaces the tasks' own dataset.
    masks: number of masks of every reference, over the preset's.
    references, metrics: replace the task's own where given; a metric called `+name` joins them.
    gates: sanity checks of every method (xbench.metrics.gates), beside the scores.

    Of methods, references and metrics, texts are read as calls ("mean-heads:layers=1"); of all that are several,
    a list does, and one alone.
    """

    model: Any
    methods: tuple[Any, ...]
    tasks: tuple[str, ...]
    data: str | None
    preset: str | None
    masks: int | None
    references: tuple[Call, ...]
    metrics: tuple[Call, ...]
    selection: Selection
    seed: int
    precision: PrecisionName
    trust_remote_code: bool
    gates: tuple[str, ...]

    def __init__(
        self,
        model: Any,
        methods: Any,
        tasks: Texts = ("core",),
        data: str | None = None,
        preset: str | None = None,
        masks: int | None = None,
        references: Calls = (),
        metrics: Calls = (),
        selection: Selection = Selection(),  # it is frozen
        seed: int = 0,
        precision: PrecisionName = "auto",
        trust_remote_code: bool = False,
        gates: Texts = (),
    ) -> None:
        """Read texts as calls; raises UsageError for one that is none."""
        given = {
            "model": model,
            "methods": _calls(methods),
            "tasks": _several(tasks),
            "data": data,
            "preset": preset,
            "masks": masks,
            "references": _calls(references),
            "metrics": _calls(metrics),
            "selection": selection,
            "seed": seed,
            "precision": precision,
            "trust_remote_code": trust_remote_code,
            "gates": _several(gates),
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen


def _several(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)


def _calls(given: Any) -> tuple[Any, ...]:
    return tuple(Call.parse(one) if isinstance(one, str) else one for one in _several(given))


@dataclass(frozen=True)
class ExecutionOptions:
    """How a run is carried out; nothing here changes a result beyond rounding.

    cache: store folder, None for the user's cache folder. batch_size: None finds one. method_timeout: seconds that a
    method may take for one utterance, None for no limit. fresh: what methods make is made again, also where it is
    stored. executor: `local`, or `ray` for a cluster. workers: processes that share the utterances (None: one, or as
    many as the cluster has accelerators). gpus_per_worker: of each of them (None: one where there are any). address:
    of the cluster; None starts one on this machine, or takes $RAY_ADDRESS.
    """

    output: str = "results"
    cache: str | None = None
    device: str = "auto"
    batch_size: int | None = None
    method_timeout: float | None = None
    fresh: bool = False
    executor: Literal["local", "ray"] = "local"
    workers: int | None = None
    gpus_per_worker: float | None = None
    address: str | None = None

    @property
    def alone(self) -> bool:
        """True when one process does all the work, this one."""
        return self.executor == "local" and (self.workers or 1) == 1
