"""The contract of a reference, as checks that run on any registered or described one.

    signature      the functions it names take the declared parameters as keywords, and need no other; `bound` and
                   `trial` name declared parameters
    map            it returns a `Reference` whose mean is [token, frame], or [token, melframe, mel] in space `input`,
                   one row per generated token
    finite         mean and halves hold no NaN and no infinity
    deterministic  the same seed gives the same map
    seed           another seed gives another map, where there are halves: they come from chance
    halves         two maps of the same shape that differ, and the mean lies closer to their middle than they do to
                   each other
    batch          the map does not depend on the batch size, up to 1e-4 of its largest value
    passes         allowed twice as many perturbed passes (`most_passes`), it makes no more than these beyond the first
                   number; what it makes in any case, clean passes and trials of faster ones, is at most 400
    progress       it tells of these passes as it makes them, and never of more than `most_passes`
    facts          what the result file says of it is of the kind that `Facts` states
    artefact       what is stored gives the same mean, halves and facts again, bit for bit
    hooks          it leaves no hook and no attribute on any module
    model          parameters, buffers, gradients, flags and training mode are what they were
    case           features and hypothesis are what they were
    surroundings   torch's and numpy's random numbers, gradient mode and default type are what they were
    short          an utterance of one token, or of one frame, works or is refused as UtteranceError or Unsupported
    evidence       in a toy model whose tokens need known cells (`testing.planted`), these lie above the others

A check that a reference cannot pass, for a reason, is declared in `expected_failures`; a declared failure that
passes is a failure, so that declarations do not outlive their reason.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from xbench import registry
from xbench.case import Case
from xbench.data.manifest import Word
from xbench.description import ReferenceDescription, load_object
from xbench.errors import Unsupported, UtteranceError
from xbench.models.loading import load_model
from xbench.models.protocol import NO_SPECTROGRAM, Features, SpeechModel
from xbench.references.reference import Facts, Reference
from xbench.spec import Call, Decoding, canonical_json
from xbench.store import Key, Store
from xbench.testing.battery import Battery, Broken, CheckResult, NotApplicable
from xbench.testing.calls import MISFIT, check_signature, completed
from xbench.testing.demo_clips import demo_cases
from xbench.testing.planted import Planted
from xbench.testing.reference_subject import (
    Subject,
    check_numbers,
    check_shape,
    difference,
    few_passes,
)

_PASSES = 48  # perturbed passes of a reference that says how many it makes
_PLANTED_PASSES = 480  # in the toy model they take no time
_BATCHES = (1, 7)
_SAME = 1e-4  # of the largest value: rounding of the same computation in other company
_IN_ANY_CASE = (
    400  # clean passes, and those that try whether a faster way of making passes is exact enough
)


def check_reference(
    reference: str | Call | ReferenceDescription,
    model: SpeechModel | str | None = None,
    case: Case | None = None,
    *,
    expected_failures: Mapping[str, str] | None = None,
) -> list[CheckResult]:
    """Run the whole battery with few passes; never raises for what the reference does.

    reference: a registered name, with parameters if wanted (`spes-encoder:p=0.5`), or a description.
    model: a name or a loaded model, by default the embedded `xbench-tiny`. case: what it is tried on, by default
    a packaged clip; a reference made from annotations needs one that they cover. expected_failures: check to reason.
    Raises UsageError for an unknown reference, parameter or check.
    """
    if isinstance(reference, ReferenceDescription):
        description, given = reference, Call(reference.name)
    else:
        given = Call.parse(reference) if isinstance(reference, str) else reference
        description = registry.references.get(given.name)
    call = completed(description, given, few_passes(description, _PASSES))
    loaded = case.model if case and model is None else model
    if loaded is None or isinstance(loaded, str):
        loaded = load_model(loaded or "xbench-tiny", device="cpu")
    tried = case or min(demo_cases(loaded), key=lambda c: len(c.hypothesis.tokens))
    subject = Subject(description, call, tried)
    refusal = f"unsupported by model '{loaded.info.name}'"
    return BATTERY.run(subject, expected_failures, refusal=refusal)


# -- the map --------------------------------------------------------------------------------------


def _check_signature(subject: Subject) -> None:
    description = subject.description
    declared = [p.name for p in description.parameters]
    for role, names in (("bound", filter(None, [description.bound])), ("trial", description.trial)):
        for name in names:
            if name not in declared:
                raise Broken(f"its {role} names '{name}', which is not among its parameters")
    check_signature(description)


def _check_map(subject: Subject) -> None:
    space = subject.description.space
    if space == "input" and not subject.case.model.info.spectrogram:
        raise Unsupported(NO_SPECTROGRAM)
    try:
        found = subject.first
    except UtteranceError as refusal:
        raise Unsupported(
            f"it refuses the clip that it is tried on ({refusal}); give `check_reference` a case that it takes"
        ) from None
    check_shape(found.mean, subject.case, space, "the map")


def _check_finite(subject: Subject) -> None:
    check_numbers(subject.first.mean, "the map")
    for half in subject.first.reference.halves() or ():
        check_numbers(half, "a half")


# -- the same again -------------------------------------------------------------------------------


def _check_deterministic(subject: Subject) -> None:
    if difference(subject.estimate().mean, subject.first.mean) > _SAME:
        raise Broken("two calls with the same seed give different maps")


def _check_seed(subject: Subject) -> None:
    if subject.first.reference.halves() is None:
        raise NotApplicable("it has no halves, so that nothing needs to come from chance")
    if np.array_equal(subject.estimate(seed=1).mean, subject.first.mean):
        raise Broken("another seed gives the same map")


def _check_halves(subject: Subject) -> None:
    found = subject.first.reference.halves()
    if found is None:
        raise NotApplicable("it has no halves")
    for half in found:
        check_shape(half, subject.case, subject.description.space, "a half")
    first, second = found
    if np.array_equal(first, second):
        raise Broken("both halves are the same map, as two estimates never are")
    apart = float(np.linalg.norm(first - second))
    off = float(np.linalg.norm((first + second) / 2 - subject.first.mean))
    if off > apart:
        raise Broken(
            f"the mean map is no mean of its halves: {off:.3g} from their middle, they are {apart:.3g} apart"
        )


def _check_batch(subject: Subject) -> None:
    for size in _BATCHES:
        change = difference(subject.estimate(batch_size=size).mean, subject.first.mean)
        if change > _SAME:
            raise Broken(
                f"in batches of {size} the map differs by {change:.3g} of its largest value"
            )


# -- what is told of it ---------------------------------------------------------------------------


def _check_passes(subject: Subject) -> None:
    most, first, longer = subject.most_passes, subject.first, subject.longer
    if first.made > most + _IN_ANY_CASE:
        raise Broken(f"it makes {first.made} passes, but its description tells of at most {most}")
    beyond = _most(subject, 2 * most) - most
    if longer.made - first.made > beyond:
        raise Broken(
            f"allowed {beyond} passes more than {most}, it makes {longer.made - first.made} more"
        )


def _most(subject: Subject, passes: int) -> int:
    most = subject.description.most_passes(subject.allowing(passes))
    assert most is not None  # the subject has a parameter that bounds them
    return most


def _check_progress(subject: Subject) -> None:
    most, first, longer = subject.most_passes, subject.first, subject.longer
    if min(first.told, default=0) < 0:
        raise Broken(f"it tells of {min(first.told)} passes")
    if sum(first.told) > most:
        raise Broken(
            f"it tells of {sum(first.told)} passes, but its description tells of at most {most}"
        )
    made, told = longer.made - first.made, sum(longer.told) - sum(first.told)
    if told < made or (first.made >= most and not first.told):
        raise Broken(
            f"it tells of {sum(first.told)} and {sum(longer.told)} passes, {told} more, "
            f"of {first.made} and {longer.made} that it makes, {made} more"
        )


def _check_facts(subject: Subject) -> None:
    facts = subject.first.reference.facts()
    if not isinstance(facts, Facts):
        raise Broken(f"its facts are of type {type(facts).__name__}, not Facts")
    masks = facts.masks
    if not isinstance(masks, tuple) or len(masks) != 2 or any(int(m) != m or m < 0 for m in masks):
        raise Broken(f"masks = {masks!r} is not a number of masks per half")
    if facts.kept is not None:
        tokens = len(subject.case.hypothesis.tokens)
        if facts.kept.shape != (tokens,) or not ((facts.kept >= 0) & (facts.kept <= 1)).all():
            raise Broken("kept is not a share, between 0 and 1, of each token")
    if facts.neutral is not None and not (isinstance(facts.neutral, str) and facts.neutral):
        raise Broken(f"neutral = {facts.neutral!r} is neither a text nor None")
    if facts.converged not in (None, True, False):
        raise Broken(f"converged = {facts.converged!r} is none of True, False and None")
    for name, value in facts.computation.items():
        if value is not None and not isinstance(value, str | int | float):
            raise Broken(f"computation holds {name} = {value!r}, which is no text or number")


def _check_artefact(subject: Subject) -> None:
    reference = subject.first.reference
    arrays, facts = reference.to_artefact()
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            raise Broken(f"'{name}' of its artefact is not an array of numbers or texts")
    try:
        canonical_json(facts)
    except (TypeError, ValueError) as problem:
        raise Broken(f"the facts of its artefact are not JSON: {problem}") from None
    with tempfile.TemporaryDirectory() as folder:
        store, key = Store(Path(folder)), Key("reference", {})
        store.put(key, arrays, facts)
        stored = store.get(key)
    assert stored is not None
    again: Reference = load_object(subject.description.restore)(stored.arrays, stored.facts)
    if not isinstance(again, Reference):
        raise Broken(f"{subject.description.restore} returns a {type(again).__name__}")
    if not np.array_equal(again.mean(), reference.mean(), equal_nan=True):
        raise Broken("the map that is made again from what is stored differs")
    mine, theirs = reference.halves(), again.halves()
    if (mine is None) != (theirs is None) or not all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(mine or (), theirs or (), strict=True)
    ):
        raise Broken("the halves that are made again from what is stored differ")
    if _plain(again.facts()) != _plain(reference.facts()):
        raise Broken("the facts that are made again from what is stored differ")


def _plain(facts: Facts) -> Any:
    kept = None if facts.kept is None else facts.kept.tolist()
    return json.loads(json.dumps(asdict(replace(facts, kept=None)) | {"kept": kept}))


def _unchanged(what: str) -> Callable[[Subject], None]:
    return lambda subject: subject.watched[1].refuse_changes(what)


# -- other utterances -----------------------------------------------------------------------------


def _check_short(subject: Subject) -> None:
    one_frame = _with_one_frame(subject.case)
    for what, case in (("token", _with_one_token(subject.case)), ("frame", one_frame)):
        if case is None:
            continue
        try:
            values = subject.estimate(case).mean
        except (UtteranceError, Unsupported):
            continue
        except Exception as problem:
            kind = type(problem).__name__
            raise Broken(
                f"an utterance of one {what} ends in {kind}: {problem}; where it cannot work, raise UtteranceError"
            ) from problem
        where = f"the map of an utterance of one {what}"
        check_shape(values, case, subject.description.space, where)
        check_numbers(values, where)


def _with_one_token(case: Case) -> Case:
    whole = case.hypothesis
    first = whole.content[0] if whole.content else 0
    tokens, texts = (whole.tokens[first],), (whole.texts[first],)
    short = replace(whole, tokens=tokens, texts=texts, content=(0,), text=texts[0].strip())
    return replace(case, hypothesis=short)


def _with_one_frame(case: Case) -> Case | None:
    """Return the case with silence of one encoder frame in place of its audio; None where there is no such."""
    rate = case.model.info.sampling_rate
    for milliseconds in (10, 20, 25, 30, 40, 60, 80, 100):
        silence = np.zeros(rate * milliseconds // 1000, dtype=np.float32)
        try:
            features = case.model.features(silence)
        except UtteranceError:
            continue
        if features.frames == 1:
            return replace(case, features=features)
    return None


def _check_evidence(subject: Subject) -> None:
    model = Planted()
    features = model.features(np.zeros(model.info.sampling_rate, dtype=np.float32))
    hypothesis = model.decode(features, "en", None, Decoding())
    case = Case(model, features, hypothesis, "planted", words=_words(model, features))
    try:
        values = subject.estimate(case, subject.allowing(_PLANTED_PASSES)).mean
    except (UtteranceError, Unsupported) as refusal:
        raise NotApplicable(f"it refuses the toy model: {refusal}") from None
    for row, frames in enumerate(model.frames):
        needed = np.zeros(values.shape[1:], dtype=bool)
        if subject.description.space == "encoder":
            needed[list(frames)] = True
        else:
            melframes = [m for frame in frames for m in (2 * frame, 2 * frame + 1)]
            needed[np.ix_(melframes, model.band)] = True
        inside, outside = values[row][needed].mean(), values[row][~needed].mean()
        if not inside > outside:
            raise Broken(
                f"token {row} needs cells whose mean relevance is {inside:.3g}; that of the others is {outside:.3g}"
            )


def _words(model: Planted, features: Features) -> tuple[Word, ...]:
    """Return the time of the evidence of each token as that of its word."""
    seconds = features.stride * features.melframe_seconds
    return tuple(
        Word(str(row), frames[0] * seconds, (frames[-1] + 1) * seconds)
        for row, frames in enumerate(model.frames)
    )


CHECKS: Mapping[str, Callable[[Subject], None]] = {
    "signature": _check_signature,
    "map": _check_map,
    "finite": _check_finite,
    "deterministic": _check_deterministic,
    "seed": _check_seed,
    "halves": _check_halves,
    "batch": _check_batch,
    "passes": _check_passes,
    "progress": _check_progress,
    "facts": _check_facts,
    "artefact": _check_artefact,
    "hooks": _unchanged("hooks"),
    "model": _unchanged("model"),
    "case": _unchanged("case"),
    "surroundings": _unchanged("surroundings"),
    "short": _check_short,
    "evidence": _check_evidence,
}
BATTERY = Battery(CHECKS, {"signature": MISFIT, "map": "there is no map"})
