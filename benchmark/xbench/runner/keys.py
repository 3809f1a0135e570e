"""What determines each stored artefact: its key is a hash of all of it.

The code that makes an artefact is named by the package that registers it and the version it declares, not by its
module: a module that is renamed throws nothing away, and two plugins that give one name and version to different
things stay apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from xbench import registry
from xbench.data.manifest import Manifest, Utterance, Word
from xbench.description import Description
from xbench.maps import Layout
from xbench.models.device import fast_precisions
from xbench.models.protocol import Hypothesis, ModelInfo
from xbench.registry import Registry
from xbench.runner.fingerprint import source_digest
from xbench.runner.plan import Method
from xbench.spec import Call, Scoring, TaskSpec
from xbench.store import Key

# Raise one when the arrays or facts of that kind change: those artefacts are made again, all others stay.
FORMATS: Mapping[str, int] = {
    "hypothesis": 2,
    "reference": 3,
    "block": 1,
    "map": 3,
    "intervention": 2,
    "gate": 2,
    "fit": 3,
    "run": 1,
    "model": 1,
}


def artefact_key(kind: str, ingredients: Mapping[str, Any]) -> Key:
    """Return the key of an artefact of the present format of its kind."""
    return Key(kind, {"format": FORMATS[kind], **ingredients})


@dataclass(frozen=True)
class Job:
    """One utterance under one task with one seed.

    estimated_under: the scoring that references were estimated for, where it is not the task's (scoring again).
    """

    task: TaskSpec
    utterance: Utterance
    seed: int
    estimated_under: Scoring | None = None

    @property
    def words(self) -> tuple[Word, ...] | None:
        """Word times of the text that is explained: none for a translation."""
        return self.utterance.words if self.task.target_language is None else None


@dataclass(frozen=True)
class Certainty:
    """How sure a model was of each generated token, while it was taught the whole hypothesis.

    log_probability: log p_i(y_i). entropy: of the distribution p_i. Both in nats; a value that is not finite is None.
    """

    log_probability: tuple[float | None, ...]
    entropy: tuple[float | None, ...]


@dataclass(frozen=True)
class Decoded:
    """A stored hypothesis with the axes of its maps and what it took.

    loops: it repeats one piece of text where the clip's own text does not (`metrics.quality.loops`). certainty: how
    sure the model was of each generated token; None where the store is older than this.
    """

    hypothesis: Hypothesis
    layout: Layout
    seconds_of_audio: float
    loops: bool = False
    certainty: Certainty | None = None

    @property
    def unexplained(self) -> str | None:
        """Why there is nothing to explain, as a reason that results count; None where there is something."""
        if not self.hypothesis.content:
            return "empty-hypothesis"
        return "looping-hypothesis" if self.loops else None


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformers")}


@cache
def _skimage() -> str:
    return version("scikit-image")


@cache
def _options(scoring: Scoring) -> dict[str, Any]:
    return asdict(scoring)


def _identity(info: ModelInfo) -> dict[str, str]:
    return {
        "family": info.family,
        "source": info.source,
        "revision": info.revision,
        "precision": info.precision,
    }


def _code(registered: Registry[Any], name: str) -> dict[str, str]:
    """Return whose code stands behind a registered name, and in which version."""
    entry, description = registered.entry(name), registered.get(name)
    return _named(description, entry.distribution)


def _code_of(method: Method) -> dict[str, str]:
    return _named(method.description, method.distribution)


def _named(description: Description, distribution: str) -> dict[str, str]:
    code = {
        "name": description.name,
        "distribution": distribution,
        "version": description.version,
    }
    # Of a package that somebody is working on the version says too little. Ours are raised by rule.
    if distribution != registry.OURS and registry.in_development(distribution):
        code["source"] = source_digest(description.implementation.partition(":")[0])
    return code


def hypothesis_key(info: ModelInfo, job: Job) -> Key:
    """Return the key of what this model writes for this audio, language and decoding."""
    decoding = job.task.decoding
    return artefact_key(
        "hypothesis",
        {
            "model": _identity(info),
            "code": _versions(),
            "audio": job.utterance.audio_sha256,
            "language": job.utterance.language,
            "target": job.task.target_language,
            "decoding": [decoding.beams, decoding.no_repeat_ngram, decoding.max_tokens],
        },
    )


@dataclass(frozen=True)
class Spoken:
    """One utterance of a run and what the model wrote for it.

    partner: another utterance of the run, for methods that compare with one.
    """

    job: Job
    decoded: Decoded
    partner: Spoken | None = None


def reference_key(info: ModelInfo, spoken: Spoken, call: Call) -> Key:
    """Return the key of a reference of this hypothesis."""
    job = spoken.job
    shared = _explanation(info, spoken, _code(registry.references, call.name), call)
    if "until" in call.given:
        # The map as scored decides when to stop.
        shared["scoring"] = _options(job.estimated_under or job.task.scoring)
    if call.given.get("precision") == "auto":
        # With it `auto` follows from what else is here: the check sees this utterance on this model only.
        shared["fast"] = [p.name for p in fast_precisions(info.device)]
    if "words" in registry.references.get(call.name).needs:
        shared["words"] = _word_times(job)
    # SLIC's superpixels have changed between releases of scikit-image before.
    return artefact_key("reference", {**shared, "seed": job.seed, "skimage": _skimage()})


def block_key(reference: Key, part: str, first: int | None) -> Key:
    """Return the key of the effects of a block of masks; without its first mask, of how they are measured."""
    return artefact_key("block", {"reference": reference.digest, "part": part, "first": first})


def map_key(info: ModelInfo, spoken: Spoken, method: Method) -> Key:
    """Return the key of a method's map of this hypothesis."""
    job, partner = spoken.job, spoken.partner
    explanation = _explanation(info, spoken, _code_of(method), method.call)
    if "words" in method.description.needs:
        explanation["words"] = _word_times(job)
    if "partner" in method.description.needs and partner:
        explanation["partner"] = [
            partner.job.utterance.audio_sha256,
            partner.decoded.hypothesis.prompt,
            partner.decoded.hypothesis.tokens,
        ]
    if method.fitted:
        explanation["fitted"] = method.fitted.digest
    return artefact_key("map", explanation)


def intervention_key(info: ModelInfo, spoken: Spoken, details: Mapping[str, Any]) -> Key:
    """Return the key of what the model says about this hypothesis while cells are hidden."""
    return artefact_key(
        "intervention",
        {
            "model": _identity(info),
            "code": _versions(),
            "audio": spoken.job.utterance.audio_sha256,
            "prompt": spoken.decoded.hypothesis.prompt,
            "tokens": spoken.decoded.hypothesis.tokens,
            **details,
        },
    )


def model_key(asked: Mapping[str, Any]) -> Key:
    """Return the key of the facts of a model that was loaded: what it was asked for by, and what loaded it."""
    return artefact_key("model", {**asked, "code": {**_versions(), "xbench": version("xbench")}})


def gate_key(
    info: ModelInfo,
    sample: Sequence[Spoken],
    method: Method,
    gate: str,
    version: str,
) -> Key:
    """Return the key of a gate's record: the method's maps of these utterances, and the gate."""
    return artefact_key(
        "gate",
        {
            "gate": [gate, version],
            "maps": [map_key(info, spoken, method).digest for spoken in sample],
            "clusters": [spoken.job.utterance.cluster for spoken in sample],
            "scoring": [asdict(spoken.job.task.scoring) for spoken in sample[:1]],
            "seed": [spoken.job.seed for spoken in sample[:1]],
        },
    )


def fit_key(info: ModelInfo, task: TaskSpec, manifest: Manifest, method: Method, seed: int) -> Key:
    """Return the key of what a method learns from a split."""
    return artefact_key(
        "fit",
        {
            "model": _identity(info),
            "code": _versions(),
            "task": task.hash,
            "utterances": manifest.fingerprint,
            "seed": seed,
            **_code_of(method),
            "params": method.call.given,
            # What it learns to match: the reference, as the metric compares with it.
            "from": [
                _code(registry.references, task.headline.reference),
                _code(registry.metrics, task.headline.metric),
            ],
        },
    )


def key_here(key: Key, device: str) -> Key:
    """Return the key that a run on this machine would give an artefact that another machine has made.

    Versions of packages and the precisions that the hardware computes fast are part of a key: they cannot be told from
    what was asked for, and may change the last digits. device: on which the run will be.
    """
    ingredients = dict(key.ingredients)
    if "code" in ingredients:
        ingredients["code"] = _versions()
    if "skimage" in ingredients:
        ingredients["skimage"] = _skimage()
    if "fast" in ingredients:
        ingredients["fast"] = [p.name for p in fast_precisions(device)]
    return Key(key.kind, ingredients)


def _word_times(job: Job) -> list[tuple[str, float, float]] | None:
    return None if job.words is None else [(w.word, w.start, w.end) for w in job.words]


def _explanation(
    info: ModelInfo, spoken: Spoken, code: Mapping[str, str], call: Call
) -> dict[str, Any]:
    hypothesis = spoken.decoded.hypothesis
    return {
        "model": _identity(info),
        "code": _versions(),
        "audio": spoken.job.utterance.audio_sha256,
        "prompt": hypothesis.prompt,
        "tokens": hypothesis.tokens,
        **code,
        "params": call.given,
    }
