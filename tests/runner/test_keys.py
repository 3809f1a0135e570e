"""What determines an artefact is in its key, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from installed_plugin import Install, plugin
from xbench import Call, RunSpec, registry
from xbench.data.manifest import Word
from xbench.models.device import BFLOAT16
from xbench.models.families.whisper import WhisperModel
from xbench.models.protocol import layout
from xbench.runner import keys
from xbench.runner.keys import Decoded, Job, Spoken, fit_key, map_key, reference_key
from xbench.runner.plan import Method, plan_methods, plan_tasks
from xbench.runner.stages import read_features
from xbench.store import KINDS


@pytest.fixture
def spec(tiny_whisper_folder: Path, make_manifest: Callable[..., Path]) -> RunSpec:
    return RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("mean-heads"),),
        tasks=("asr",),
        data=str(make_manifest({"a": 0.6})),
        masks=24,
    )


@pytest.fixture
def explained(spec: RunSpec, tiny: WhisperModel) -> Spoken:
    """Return an utterance and its hypothesis."""
    (plan,) = plan_tasks(spec)
    job = Job(plan.task, plan.manifest.utterances[0], 0)
    features, _ = read_features(tiny, job.utterance)
    hypothesis = tiny.decode(features, "en", None, plan.task.decoding)
    return Spoken(job, Decoded(hypothesis, layout(features, hypothesis), 0.6))


def test_every_fact_about_the_model_that_changes_its_output_is_in_the_keys(
    tiny: WhisperModel, spec: RunSpec
) -> None:
    (plan,) = plan_tasks(spec)
    job = keys.Job(plan.task, plan.manifest.utterances[0], 0)
    base = keys.hypothesis_key(tiny.info, job).digest
    for change in ({"revision": "x"}, {"precision": "bfloat16"}, {"source": "x"}, {"family": "x"}):
        assert keys.hypothesis_key(replace(tiny.info, **change), job).digest != base
    for same in ({"name": "x"}, {"device": "cuda"}):
        assert keys.hypothesis_key(replace(tiny.info, **same), job).digest == base
    other = replace(job, utterance=replace(job.utterance, audio_sha256="0" * 64))
    assert keys.hypothesis_key(tiny.info, other).digest != base
    english = replace(job, utterance=replace(job.utterance, language="it"))
    assert keys.hypothesis_key(tiny.info, english).digest != base
    decoding = replace(job, task=replace(job.task, decoding=replace(job.task.decoding, beams=1)))
    assert keys.hypothesis_key(tiny.info, decoding).digest != base


def test_what_is_explained_and_how_is_in_the_keys_of_references_and_maps(
    tiny: WhisperModel, spec: RunSpec, clip: Callable[..., np.ndarray]
) -> None:
    (plan,), (method,) = plan_tasks(spec), plan_methods(spec)
    job = keys.Job(plan.task, plan.manifest.utterances[0], 0)
    features = tiny.features(clip(0.6))
    hypothesis = tiny.decode(features, "en", None, plan.task.decoding)
    decoded = keys.Decoded(hypothesis, layout(features, hypothesis), 0.6)
    spoken = Spoken(job, decoded)
    call = plan.task.references[0]
    reference = keys.reference_key(tiny.info, spoken, call).digest
    explained = keys.map_key(tiny.info, spoken, method).digest
    assert reference != explained

    other_audio = replace(job, utterance=replace(job.utterance, audio_sha256="0" * 64))
    jobs = [(tiny.info, other_audio, decoded), (replace(tiny.info, revision="x"), job, decoded)]
    for change in ({"tokens": hypothesis.tokens[1:]}, {"prompt": hypothesis.prompt[1:]}):
        changed = replace(decoded, hypothesis=replace(hypothesis, **change))
        jobs.append((tiny.info, job, changed))
    for info, job_, decoded_ in jobs:
        assert keys.reference_key(info, Spoken(job_, decoded_), call).digest != reference
        assert keys.map_key(info, Spoken(job_, decoded_), method).digest != explained
    more = call.with_params(p=0.5)
    assert keys.reference_key(tiny.info, spoken, more).digest != reference
    newer = replace(method, description=replace(method.description, version="2"))
    assert keys.map_key(tiny.info, spoken, newer).digest != explained
    seeded = replace(spoken, job=replace(job, seed=1))
    assert keys.reference_key(tiny.info, seeded, call).digest != reference
    assert keys.map_key(tiny.info, seeded, method).digest == explained


def test_the_key_of_a_reference_holds_what_determines_its_passes(
    spec: RunSpec, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plan,) = plan_tasks(spec)
    job = Job(plan.task, plan.manifest.utterances[0], 0)
    features, _ = read_features(tiny, job.utterance)
    hypothesis = tiny.decode(features, "en", None, job.task.decoding)
    decoded = Decoded(hypothesis, layout(features, hypothesis), 1.0)
    call = next(c for c in plan.task.references if c.name == "spes-input")

    def digest(**params: str) -> str:
        return str(
            reference_key(tiny.info, Spoken(job, decoded), call.with_params(**params)).digest
        )

    found = {digest(precision=p) for p in ("auto", "float32", "bfloat16")}
    assert len({*found, digest(padding="frozen")}) == 4
    for fast in ((BFLOAT16,), ()):
        monkeypatch.setattr(keys, "fast_precisions", lambda device, fast=fast: fast)
        found.add(digest(precision="auto"))
    assert len(found) == 4  # `auto` on this machine, and on the other kind


def test_scoring_enters_the_key_of_a_reference_only_with_a_target(
    tiny: WhisperModel, spec: RunSpec, clip: Callable[..., np.ndarray]
) -> None:
    (plan,) = plan_tasks(spec)
    other = replace(plan.task, scoring=replace(plan.task.scoring, pool_time="mean"))
    utterance = plan.manifest.utterances[0]
    features = tiny.features(clip(0.6))
    hypothesis = tiny.decode(features, "en", None, plan.task.decoding)
    decoded = keys.Decoded(hypothesis, layout(features, hypothesis), 0.6)
    with_target = plan.task.references[0]
    without = Call.make(with_target.name, {k: v for k, v in with_target.params if k != "until"})
    for call, same in ((with_target, False), (without, True)):
        digests = {
            keys.reference_key(tiny.info, Spoken(Job(task, utterance, 0), decoded), call).digest
            for task in (plan.task, other)
        }
        assert (len(digests) == 1) is same


# -- whose code it is -----------------------------------------------------------------------------


def test_plugins_that_share_name_and_version_have_maps_of_their_own(
    install: Install, tiny: WhisperModel, explained: Spoken
) -> None:
    plugin(install, "first-plugin", "first_module", "loudness")
    alone = Method.registered(Call("loudness"))
    plugin(install, "second-plugin", "second_module", "loudness")
    first = Method.registered(Call("first-plugin:loudness"))
    second = Method.registered(Call("second-plugin:loudness"))
    assert (first.distribution, second.distribution) == ("first-plugin", "second-plugin")
    assert first.description.version == second.description.version
    key_of_alone, key_of_first, key_of_second = (
        map_key(tiny.info, explained, method).digest for method in (alone, first, second)
    )
    assert key_of_first != key_of_second
    # A rival that is installed later throws no map away, though the call is then written longer.
    assert key_of_first == key_of_alone


def test_a_module_that_moves_keeps_its_artefacts(
    tiny: WhisperModel,
    spec: RunSpec,
    explained: Spoken,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (plan,) = plan_tasks(spec)
    call, method = plan.task.references[0], Method.registered(Call("best-head"))
    entry = registry.references.entry(call.name)

    def digests(method: Method, entry: registry.Entry[Any]) -> tuple[str, str, str]:
        monkeypatch.setattr(registry.references, "entry", lambda name: entry)
        return (
            map_key(tiny.info, explained, method).digest,
            fit_key(tiny.info, plan.task, plan.manifest, method, 0).digest,
            reference_key(tiny.info, explained, call).digest,
        )

    def described(**changes: str) -> tuple[str, str, str]:
        assert entry.description is not None
        return digests(
            replace(method, description=replace(method.description, **changes)),
            replace(entry, description=replace(entry.description, **_known(entry, changes))),
        )

    assert method.description.fit
    before = digests(method, entry)
    assert described(implementation="elsewhere:run", fit="elsewhere:fit") == before
    assert not set(described(version="99")) & set(before)
    others = digests(replace(method, distribution="other"), replace(entry, distribution="other"))
    assert not set(others) & set(before)


def _known(entry: registry.Entry[Any], changes: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in changes.items() if hasattr(entry.description, name)}


def test_another_format_of_one_kind_leaves_the_others_alone(
    tiny: WhisperModel,
    spec: RunSpec,
    explained: Spoken,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (plan,), (method,) = plan_tasks(spec), plan_methods(spec)

    def digests() -> dict[str, str]:
        return {
            "hypothesis": keys.hypothesis_key(tiny.info, explained.job).digest,
            "reference": reference_key(tiny.info, explained, plan.task.references[0]).digest,
            "map": map_key(tiny.info, explained, method).digest,
            "intervention": keys.intervention_key(tiny.info, explained, {}).digest,
            "fit": fit_key(tiny.info, plan.task, plan.manifest, method, 0).digest,
            "gate": keys.gate_key(tiny.info, [explained], method, "g", "1").digest,
            "model": keys.artefact_key("model", {}).digest,
            "run": keys.artefact_key("run", {}).digest,
            "block": keys.artefact_key("block", {}).digest,
        }

    assert set(keys.FORMATS) == set(KINDS)
    before = digests()
    for kind in KINDS:
        with monkeypatch.context() as patch:
            patch.setitem(keys.FORMATS, kind, 1000)  # type: ignore[misc]
            after = digests()
        # The key of a gate holds the keys of the maps it judged.
        changed = {kind, "gate"} if kind == "map" else {kind}
        assert {name for name in KINDS if before[name] != after[name]} == changed


def test_word_times_are_part_of_the_key_of_references_over_words(
    tiny: WhisperModel, explained: Spoken
) -> None:
    job = explained.job
    utterance = replace(job.utterance, words=(Word("one", 0.0, 0.1),))
    timed = replace(explained, job=replace(job, utterance=utterance))
    for name, same in (("spes-encoder", True), ("spes-encoder-words", False)):
        call = registry.references.resolve(Call(name).with_params(masks=12))[1]
        keys = {reference_key(tiny.info, spoken, call).digest for spoken in (explained, timed)}
        assert (len(keys) == 1) is same
