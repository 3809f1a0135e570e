"""Torch-free descriptions of everything that can be registered.

An entry point names one of these; the code itself is named by `implementation` ("module:object")
and imported only when it runs. Listing, showing, validating and the site therefore need no torch.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from xbench.authorship import LINK
from xbench.errors import Unsupported, UsageError, nearest
from xbench.misfits import is_name, misfits, strange
from xbench.spec import Call, Scalar

# What a method may ask for beside the attention to the source. `source-projections` are those of the blocks by which
# text attends to the source, whatever they are: cross-attention, or the self-attention of a decoder-only model.
CAPTURES = frozenset(
    {
        "source-projections",
        "decoder-attention",
        "encoder-attention",
        "cross-projections",
        "decoder-projections",
        "encoder-projections",
    }
)

ParameterType = Literal["int", "float", "bool", "str", "indices"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method, reference or metric: type, default, bounds and meaning.

    `sweep` names the axis ("layer" or "head") that the value `*` runs over. Values of the type
    `indices` are read by `indices`.
    """

    name: str
    type: ParameterType
    description: str
    default: Scalar | None = None
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    sweep: Literal["layer", "head"] | None = None

    def read(self, value: Scalar, owner: str) -> Scalar:
        """Return `value` as this parameter's type; raise UsageError with the valid values."""
        if self.sweep and value == "*":
            return value
        converted = self._convert(value)
        if converted is None:
            raise UsageError(f"{owner}: '{self.name}={value}' is not {_ARTICLE[self.type]}")
        if self.choices and converted not in self.choices:
            choices = ", ".join(self.choices)
            raise UsageError(f"{owner}: '{self.name}={value}' is not one of {choices}")
        if isinstance(converted, int | float) and not isinstance(converted, bool):
            low, high = self.minimum, self.maximum
            if (low is not None and converted < low) or (high is not None and converted > high):
                bounds = f"{'' if low is None else f'>= {low:g}'}{' and ' if None not in (low, high) else ''}"
                bounds += "" if high is None else f"<= {high:g}"
                raise UsageError(f"{owner}: '{self.name}={value}' must be {bounds}")
        return converted

    def _convert(self, value: Scalar) -> Scalar | None:
        text = str(value)
        if self.type == "bool":
            return {"true": True, "false": False}.get(text.lower())
        if self.type == "int":
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else None
        if self.type == "float":
            return (
                float(text)
                if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text)
                else None
            )
        if self.type == "indices":
            if re.fullmatch(r"\d+(\+\d+)*", text):
                return "+".join(map(str, sorted({int(index) for index in text.split("+")})))
            return text if text in NAMED_INDICES else None
        return text


def indices(axis: str, chosen: str, size: int) -> list[int]:
    """Return what a value of type `indices` names on an axis ("layer", "head") of this size, sorted.

    `all`; `last`; `lower-half`, `upper-half` (of an odd size both hold the middle one); `0+2`.
    Raises Unsupported for an index that does not exist.
    """
    if chosen in NAMED_INDICES:
        return list(NAMED_INDICES[chosen](size))
    listed = sorted({int(index) for index in chosen.split("+")})
    for index in listed:
        check_index(axis, index, size)
    return listed


def check_index(axis: str, index: int, size: int) -> None:
    """Raise Unsupported when the decoder has no such layer or head."""
    if not 0 <= index < size:
        raise Unsupported(f"{axis} {index} does not exist: the decoder has {axis}s 0 to {size - 1}")


NAMED_INDICES: Mapping[str, Callable[[int], range]] = {
    "all": range,
    "last": lambda size: range(size - 1, size),
    "lower-half": lambda size: range((size + 1) // 2),
    "upper-half": lambda size: range(size // 2, size),
}
_ARTICLE = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "indices": f"{', '.join(NAMED_INDICES)} or indices joined by '+', such as 0+2",
}


@dataclass(frozen=True)
class Description:
    """What every registered thing has: a name, a version, a sentence, a source, an implementation."""

    name: str
    version: str
    summary: str
    source: str
    implementation: str
    parameters: tuple[Parameter, ...] = field(default=(), kw_only=True)

    def problems(self) -> list[str]:
        """Return what keeps the description from being used: fields of another type, or values that do not exist."""
        found = misfits(self)
        if not found and not is_name(self.name):
            found.append(f"name is {self.name!r}, expected letters, digits, '-', '_' and '.'")
        if not found:
            found = [f"parameter '{p.name}': {why}" for p in self.parameters for why in misfits(p)]
        if not found and not re.fullmatch(r"[\w.]+:[\w.-]+", self.implementation):
            found.append(f"implementation is {self.implementation!r}, expected 'module:object'")
        return found

    def resolve(self, call: Call) -> Call:
        """Return `call` with every parameter checked and every default filled in."""
        known = {p.name: p for p in self.parameters}
        given = call.given
        for name in given:
            if name not in known:
                valid = f"; it takes {', '.join(known)}" if known else "; it takes no parameters"
                raise UsageError(
                    f"{self.name}: unknown parameter '{name}'{nearest(name, known)}{valid}"
                )
        resolved: dict[str, Scalar] = {}
        for parameter in self.parameters:
            if parameter.name in given:
                resolved[parameter.name] = parameter.read(given[parameter.name], self.name)
            elif parameter.required:
                raise UsageError(
                    f"{self.name}: parameter '{parameter.name}' is required: {parameter.description}"
                )
            elif parameter.default is not None:
                resolved[parameter.name] = parameter.default
        return Call.make(self.name, resolved)

    def load(self) -> Any:
        """Import and return the implementation."""
        return load_object(self.implementation)


@dataclass(frozen=True)
class MethodDescription(Description):
    """An explanation method.

    kind: `attention`, `gradient`, `perturbation` or `control`.
    space: where its map lives: `encoder` = [token, frame], `input` = [token, frame, mel].
    signed: its values may be negative. distribution: its rows are non-negative and sum to one.
    takes: what the implementation is given: the `trace`, or the whole `case` (model and features too).
    needs: the captures beyond attention to the source that its trace must hold; `words`: it takes the case and
        uses the manifest's word times; `partner`: it takes the case and uses another utterance's. Both
        then determine the map too.
    fit: "module:object" of a function (xbench.fitting.FitSplit, **parameters) to what it learned from
        the dev split; the implementation then gets it as keyword `fitted`.
    families: the model families it supports; empty means all.
    kinds: the kinds of models it supports (`xbench.models.protocol.Kind`). Of these, one whose trace lacks what it
        needs is refused with that model's reason.
    estimates: the reference whose own estimator it is; against that it shows what a second estimate
        of the same scores, and takes no rank.
    complete: its map sums to f(x) - f(baseline) per token, with parameters `target` and `baseline`.
    cost: forward and backward passes in words, for instance "1 forward".
    authors, code, paper, licence: who wrote it, links to its code and its paper, the licence of the code. Where they
        are empty, results take them from the metadata of the package, and the paper from `source`.
    """

    kind: Literal["attention", "gradient", "perturbation", "control"] = field(kw_only=True)
    space: Literal["encoder", "input"] = field(default="encoder", kw_only=True)
    signed: bool = field(default=False, kw_only=True)
    distribution: bool = field(kw_only=True)
    uses_gradients: bool = field(default=False, kw_only=True)
    takes: Literal["trace", "case"] = field(default="trace", kw_only=True)
    needs: frozenset[str] = field(default=frozenset(), kw_only=True)
    families: tuple[str, ...] = field(default=(), kw_only=True)
    kinds: tuple[str, ...] = field(default=("encoder-decoder", "audio-prefix"), kw_only=True)
    cost: str = field(default="1 forward", kw_only=True)
    ignores: str = field(default="", kw_only=True)
    fit: str | None = field(default=None, kw_only=True)
    estimates: str | None = field(default=None, kw_only=True)
    complete: bool = field(default=False, kw_only=True)
    authors: str = field(default="", kw_only=True)
    code: str = field(default="", kw_only=True)
    paper: str = field(default="", kw_only=True)
    licence: str = field(default="", kw_only=True)

    def problems(self) -> list[str]:
        """Return what keeps the description from being used; links are https."""
        links = {"code": self.code, "paper": self.paper}
        wrong = [name for name, link in links.items() if link and not re.match(LINK, link)]
        found = [f"{name} is {links[name]!r}, expected a link: https://..." for name in wrong]
        return super().problems() or found + strange(self.needs, CAPTURES | {"words", "partner"})

    def load_fit(self) -> Any:
        """Import and return the fit function; None where there is none."""
        return None if self.fit is None else load_object(self.fit)


@dataclass(frozen=True)
class OwnMethod(MethodDescription):
    """A method that no package registers: `function` in place of an implementation that is named.

    version: says what the function does (`runner.fingerprint`), so that its maps are made again when it changes.
    """

    function: Callable[..., Any] = field(kw_only=True)

    def load(self) -> Any:
        """Return the function."""
        return self.function


@dataclass(frozen=True)
class ReferenceDescription(Description):
    """A reference saliency: `implementation` maps (case, sampling, **parameters) to a `Reference`.

    space: where its cells live: `encoder` = [token, frame], `input` = [token, melframe, mel].
    estimator: how it is computed, in a word; a parameter of this name tells it more exactly.
    restore: "module:object" of the function (arrays, facts) that makes a stored reference again.
    bound: the parameter that bounds how many perturbed passes one utterance takes; the command line's
        `--masks` sets it, and `--plan` reads it. None: the number is not known before it runs.
    trial: values of other parameters with which a few passes are enough, for its contract battery.
    kinds: the kinds of models that have what it hides; a run leaves it out for others.
    needs: `words`: it uses the manifest's word times, which then determine the reference too.
    """

    space: Literal["encoder", "input"] = field(kw_only=True)
    estimator: str = field(kw_only=True)
    restore: str = field(default="xbench.references.sampled:restore", kw_only=True)
    bound: str | None = field(default=None, kw_only=True)
    trial: Mapping[str, Scalar] = field(default_factory=dict, kw_only=True)
    kinds: tuple[str, ...] = field(default=("encoder-decoder", "audio-prefix"), kw_only=True)
    needs: frozenset[str] = field(default=frozenset(), kw_only=True)

    def problems(self) -> list[str]:
        """Return what keeps the description from being used; only word times can be asked for."""
        return super().problems() or strange(self.needs, {"words"})

    def most_passes(self, call: Call) -> int | None:
        """Return the most perturbed passes that a call takes per utterance; None where it is not known."""
        return None if self.bound is None else int(call.given[self.bound])

    def bounded(self, call: Call, passes: int) -> Call:
        """Return the call with at most this many passes, or as it is where nothing bounds them."""
        return call if self.bound is None else call.with_params(**{self.bound: passes})


@dataclass(frozen=True)
class MetricDescription(Description):
    """A metric: its direction, range, and where its ceiling comes from.

    range: lowest and highest value; None where there is no bound. unit: empty for a plain number.
    needs: what the implementation is given beside map and reference: `words` is the keyword
        `spans`, the start and end of each generated token's word in seconds (xbench.metrics.timing).
    batched: "module:object" of the same metric over many maps at once (xbench.metrics.batch), for
        speed; the implementation stays the definition.
    ceiling: "module:object" of a function from the reference to (upper, lower) per utterance, or
    None, in which case `no_ceiling` says why. weighted_ceiling: the same for the score with tokens weighted by
    their effect; the function is also given the weights.
    takes: what the implementation is given. `reference`: (map, reference, layout, scoring). The others
        have no reference; what was measured is their one argument: `curves` (Curves), `effects` (Effects),
        `deleted` or `inserted` (Redecoded), `map` (the map's content rows). See xbench.metrics.intervention.
    space: where cells are hidden, for metrics without a reference.
    measured: those of its parameters that say how a map ranks cells and how texts are judged. The runner reads them
        (`runner.ranked`), and the implementation does not get them.
    corpus: "module:object" of a function (summed column `statistics`, quality) to the corpus value,
        for metrics that are no mean over utterances.
    """

    family: Literal["agreement", "intervention", "sanity"] = field(kw_only=True)
    higher_is_better: bool = field(kw_only=True)
    range: tuple[float | None, float | None] = field(kw_only=True)
    unit: str = field(default="", kw_only=True)
    needs: frozenset[str] = field(default=frozenset(), kw_only=True)
    batched: str | None = field(default=None, kw_only=True)
    ceiling: str | None = field(default=None, kw_only=True)
    no_ceiling: str = field(default="", kw_only=True)
    weighted_ceiling: str | None = field(default=None, kw_only=True)
    takes: Literal["reference", "map", "curves", "effects", "deleted", "inserted"] = field(
        default="reference", kw_only=True
    )
    space: Literal["encoder", "input"] = field(default="encoder", kw_only=True)
    measured: frozenset[str] = field(default=frozenset(), kw_only=True)
    corpus: str | None = field(default=None, kw_only=True)

    def problems(self) -> list[str]:
        """Return what keeps the description from being used; only word times can be asked for."""
        return super().problems() or strange(self.needs, {"words"})


@dataclass(frozen=True)
class Checkpoint:
    """One registered checkpoint of a family, from the family's data file.

    It lies on the hub (`hub_id`, `revision`) or in the package (`packaged`, a folder below xbench/).
    parameters: None where `note` says why it is not known. checked: which of these facts were compared
    with what. tested: what was run with the checkpoint itself; empty where nobody could run it.
    """

    name: str
    hub_id: str | None
    revision: str | None
    packaged: str | None
    parameters: int | None
    languages: str
    tasks: tuple[str, ...]
    licence: str
    checked: str
    tested: str = ""
    note: str = ""

    @property
    def status(self) -> str:
        """Return `run`, or `untested`: its family's code never met these weights."""
        return "run" if self.tested else "untested"


@dataclass(frozen=True)
class FamilyDescription(Description):
    """A model family: `implementation` loads a checkpoint, `checkpoints` are its registered names."""

    architecture: str = field(kw_only=True)
    checkpoints: tuple[Checkpoint, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class DatasetDescription(Description):
    """A dataset: `implementation` maps (split) to the path of a manifest. synthetic: no person spoke its clips."""

    licence: str = field(kw_only=True)
    splits: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    synthetic: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class CorpusDescription(DatasetDescription):
    """A corpus in the layout in which it is distributed; `xbench data prepare` makes its manifests.

    `implementation` is a reader (root, split, languages, targets, **parameters) to clips
    (`xbench.data.corpora.clip`). layout: what root holds, with `...` for a name that varies. obtain:
    where it comes from. clip_seconds: mean length of a clip, from which costs are estimated.
    options: what `data prepare` is best given, where its defaults are not enough. checked: which of these
    facts were compared with what. generic: it stands
    for many datasets, whose manifests have no place of their own and whose splits are not known.
    """

    layout: str = field(kw_only=True)
    obtain: str = field(kw_only=True)
    clip_seconds: float | None = field(kw_only=True)
    options: str = field(default="", kw_only=True)
    checked: str = field(default="", kw_only=True)
    generic: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class TaskFolder(Description):
    """A folder of task files; `implementation` is a function without arguments returning its path."""


def load_object(path: str) -> Any:
    """Import `module:object`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
