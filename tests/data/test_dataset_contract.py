"""Every registered dataset passes the battery that plugins run, and the battery catches what it promises."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import Run
from xbench import registry
from xbench.data.corpora.clip import Clip
from xbench.data.manifest import Word
from xbench.description import CorpusDescription, DatasetDescription, Parameter
from xbench.errors import EnvironmentProblem, UsageError
from xbench.testing import CheckResult, check_dataset, problems
from xbench.testing.datasets import CHECKS

MakeManifest = Callable[..., Path]
AFTER_FILES = {"manifest", "audio", "languages", "clusters", "disjoint"}


def skipped(results: Sequence[CheckResult]) -> set[str]:
    return {r.check for r in results if r.status == "skipped"}


@pytest.mark.parametrize("name", registry.datasets.names())
def test_every_registered_dataset_keeps_the_contract_as_far_as_it_can_be_tried(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_DATA", str(tmp_path))
    results = check_dataset(name)
    assert [r.check for r in results] == list(CHECKS)
    assert problems(results) == []
    comes_with_files = not isinstance(registry.datasets.get(name), CorpusDescription)
    assert skipped(results) == ({"clips"} if comes_with_files else {"clips", *AFTER_FILES})


@pytest.mark.parametrize(
    ("name", "split", "options"),
    [
        ("europarl-st", "test", {}),
        ("librispeech", "test-clean", {"languages": ("en",)}),
        ("must-c", "tst-COMMON", {"targets": ("de",)}),
        ("covost2", "test", {"targets": ("de",)}),
        ("fleurs", "test", {"languages": ("en", "it")}),
        ("mls", "test", {}),
    ],
)
def test_every_corpus_does_on_a_miniature_of_its_layout(
    name: str, split: str, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue({"europarl-st": "europarl"}.get(name, name.replace("-", "_")))
    results = check_dataset(name, root, split, **options)
    assert problems(results) == []
    assert skipped(results) <= {"disjoint", "clusters"}


def test_a_prepared_split_is_read(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_manifest({"a": 0.3, "b": 0.3})
    monkeypatch.setenv("XBENCH_DATA", str(tmp_path))
    (tmp_path / "mls").mkdir()
    for audio in tmp_path.glob("*.wav"):
        audio.rename(tmp_path / "mls" / audio.name)
    made.rename(tmp_path / "mls" / "test.jsonl")
    assert skipped(check_dataset("mls")) == {"clips", "clusters", "disjoint"}


# -- the battery can fail: datasets ---------------------------------------------------------------


def describe(implementation: Any, patch: pytest.MonkeyPatch, **more: Any) -> DatasetDescription:
    patch.setattr("xbench.testing.planted_dataset", implementation, raising=False)
    facts: dict[str, Any] = {
        "name": "planted",
        "version": "1",
        "summary": "clips",
        "source": "here",
        "licence": "CC0",
        "splits": {"test": ""},
    }
    return DatasetDescription(implementation="xbench.testing:planted_dataset", **(facts | more))


@pytest.fixture
def found(
    make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, CheckResult]]:
    """Return the function from clips and fields of their lines to what each check of their dataset found."""

    def run(
        clips: dict[str, Any] | None = None,
        fields: dict[str, dict[str, Any]] | None = None,
        **more: Any,
    ) -> dict[str, CheckResult]:
        usual = {"a": {"cluster": "x"}, "b": {"cluster": "y"}}
        lines = {name: usual[name] | (fields or {}).get(name, {}) for name in usual}
        made = make_manifest(clips or {"a": 0.3, "b": 0.4}, lines)
        implementation = more.pop("implementation", lambda split: made)
        description = describe(implementation, monkeypatch, **more)
        return {r.check: r for r in check_dataset(description)}

    return run


def broken(results: dict[str, CheckResult]) -> dict[str, str]:
    return {name: r.detail for name, r in results.items() if not r.ok}


def test_a_good_dataset_passes(found: Callable[..., dict[str, CheckResult]]) -> None:
    results = found()
    assert broken(results) == {}
    assert skipped(list(results.values())) == {"clips", "disjoint"}


@pytest.mark.parametrize(
    ("clips", "fields", "check", "sentence"),
    [
        (None, {"a": {"language": "English"}}, "languages", "'English' is no language code"),
        (None, {"a": {"language": "xx"}}, "languages", "'xx' is no language code"),
        (None, {"a": {"translation_en_us": "Hi."}}, "languages", "'en_us' is no language code"),
        (None, {"a": {"cluster": None}}, "clusters", "'a' does not"),
        (None, {"a": {"cluster": "y"}}, "clusters", "all clips are of one cluster, y"),
        (None, {"b": {"id": "a"}}, "manifest", "test: line 2: id 'a' is the id of line 1"),
        (None, {"a": {"audio": "gone.wav"}}, "manifest", "line 1: audio of 'a'"),
        (None, {"a": {"audio": 3}, "b": {"id": ""}}, "manifest", "and 1 more"),
        ({"a": np.zeros(4000), "b": 0.3}, None, "audio", "a.wav: is silent"),
        ({"a": b"no audio", "b": 0.3}, None, "audio", "holds text and no audio"),
        (
            None,
            {"a": {"words": [{"word": "hi", "start": 0.0, "end": 0.9}]}},
            "manifest",
            "words of 'a': they end at 0.9 s, the clip after 0.30 s",
        ),
    ],
)
def test_each_break_of_a_manifest_is_found(
    clips: Any,
    fields: Any,
    check: str,
    sentence: str,
    found: Callable[..., dict[str, CheckResult]],
) -> None:
    assert sentence in broken(found(clips, fields))[check]


def crashing(split: str) -> Path:
    raise KeyError(split)


def wordy(split: str) -> Path:
    raise UsageError("not here\nnor there")


def refusing(split: str) -> Path:
    raise EnvironmentProblem("planted: its clips lie in the archive; ask the librarian")


@pytest.mark.parametrize(
    ("more", "check", "sentence"),
    [
        ({"licence": " "}, "description", "its licence is empty"),
        ({"splits": {}}, "description", "it states no split"),
        ({"implementation": lambda: Path()}, "signature", "takes 0 arguments by position"),
        ({"implementation": crashing}, "refuses", "split test ends in KeyError: 'test'"),
        ({"implementation": wordy}, "refuses", "not in one line"),
        ({"implementation": str}, "refuses", "split test gives a str, not a Path"),
        ({"splits": {"test": "", "dev": ""}}, "disjoint", "in both test and dev, such as"),
    ],
)
def test_each_break_of_a_dataset_is_found(
    more: dict[str, Any],
    check: str,
    sentence: str,
    found: Callable[..., dict[str, CheckResult]],
) -> None:
    assert sentence in broken(found(**more))[check]


def test_a_dataset_that_is_not_here_is_no_failure(
    found: Callable[..., dict[str, CheckResult]],
) -> None:
    for away in (refusing, lambda split: Path("/nowhere.jsonl")):
        results = found(implementation=away)
        assert broken(results) == {}
        assert skipped(list(results.values())) == {"clips", *AFTER_FILES}
        assert "xbench show dataset planted" in results["manifest"].detail


# -- the battery can fail: corpora ----------------------------------------------------------------


def clips_below(root: str, languages: Sequence[str] = ()) -> list[Clip]:
    files = sorted(Path(root).glob("*.wav"))
    if not files:
        raise UsageError(f"planted: {root} holds no .wav file")
    spoken = {file.stem: "it" if "it" in file.stem else "en" for file in files}
    return [
        Clip(file.stem, file, spoken[file.stem], "hi", cluster=file.stem)
        for file in files
        if not languages or spoken[file.stem] in languages
    ]


def good(root: str, split: str, languages: Sequence[str], targets: Sequence[str]) -> list[Clip]:
    return clips_below(root, languages)


def changing(change: Callable[[list[Clip]], Any]) -> Callable[..., Any]:
    def read(root: str, split: str, languages: Sequence[str], targets: Sequence[str]) -> Any:
        return change(clips_below(root, languages))

    return read


def forgiving(
    root: str, split: str, languages: Sequence[str], targets: Sequence[str]
) -> list[Clip]:
    try:
        return clips_below(root, languages)
    except UsageError:
        return []


def crashing_reader(
    root: str, split: str, languages: Sequence[str], targets: Sequence[str]
) -> list[Clip]:
    return clips_below(str(next(Path(root).iterdir()).parent), languages)


def deaf(root: str, split: str, languages: Sequence[str], targets: Sequence[str]) -> list[Clip]:
    return clips_below(root)


def shuffled(clips: list[Clip]) -> list[Clip]:
    return [replace(c, transcript=str(random.random())) for c in clips]


def corpus(implementation: Any, patch: pytest.MonkeyPatch, **more: Any) -> CorpusDescription:
    plain = describe(implementation, patch)
    facts: dict[str, Any] = {
        **{k: getattr(plain, k) for k in ("name", "version", "summary", "source", "licence")},
        "splits": plain.splits,
        "implementation": plain.implementation,
        "layout": "ROOT/*.wav",
        "obtain": "from me",
        "clip_seconds": 0.3,
    }
    return CorpusDescription(**(facts | more))


@pytest.fixture
def root(make_manifest: MakeManifest, tmp_path: Path) -> Path:
    make_manifest({"a": 0.3, "b": 0.3, "it-c": 0.3})
    return tmp_path


def test_a_good_corpus_passes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = check_dataset(corpus(good, monkeypatch), root)
    assert problems(results) == []
    assert skipped(results) == {"disjoint"}
    stream = changing(iter)
    assert problems(check_dataset(corpus(stream, monkeypatch), root, languages=("it",))) == []


@pytest.mark.parametrize(
    ("reader", "more", "check", "sentence"),
    [
        (good, {"layout": "somewhere"}, "description", "does not show what ROOT holds"),
        (good, {"obtain": ""}, "description", "its obtain is empty"),
        (good, {"clip_seconds": 0.0}, "description", "its clips last 0 s"),
        (
            good,
            {"parameters": (Parameter("text", "str", "", default="a"),)},
            "signature",
            "no keyword 'text'",
        ),
        (forgiving, {}, "refuses", "an empty folder gives 0 clips instead of a refusal"),
        (crashing_reader, {}, "refuses", "an empty folder ends in StopIteration"),
        (changing(lambda clips: []), {}, "clips", "it yields no clip"),
        (changing(lambda clips: [*clips, clips[0]]), {}, "clips", "1 ids occur twice, such as 'a'"),
        (changing(shuffled), {}, "clips", "read a second time it yields other clips"),
        (deaf, {}, "clips", "asked for en, it yields clips in it"),
        (
            changing(lambda clips: [replace(c, offset=0.0) for c in clips]),
            {},
            "clips",
            "a: a part of a recording needs both offset and duration",
        ),
        (
            changing(lambda clips: [*clips, replace(clips[0], id="z", audio=Path("/gone.wav"))]),
            {},
            "manifest",
            "1 clips are left out, the first: z:",
        ),
        (
            changing(lambda clips: [replace(clips[0], words=(Word("hi", 0, 9),)), *clips[1:]]),
            {},
            "manifest",
            "words of 'a': they end at 9 s, the clip after 0.30 s",
        ),
    ],
)
def test_each_break_of_a_corpus_is_found(
    reader: Any,
    more: dict[str, Any],
    check: str,
    sentence: str,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = check_dataset(corpus(reader, monkeypatch, **more), root)
    assert sentence in broken({r.check: r for r in results})[check]


def test_bad_usage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown dataset 'dem', did you mean 'demo'"):
        check_dataset("dem")
    with pytest.raises(UsageError, match="'demo' comes with its manifests: it has no root"):
        check_dataset("demo", tmp_path)
    with pytest.raises(UsageError, match="has no split 'tests', did you mean 'test'"):
        check_dataset("mls", tmp_path, "tests")
    with pytest.raises(UsageError, match="there is no check 'speed'"):
        check_dataset("demo", expected_failures={"speed": "slow"})


def test_the_command_line_checks_a_dataset(librispeech: Path, run: Run) -> None:
    done = run("check", "dataset", "librispeech", "--root", librispeech, "--language", "en")
    assert done.code == 0, done.err
    assert "clips" in done.out
    corpus = ("librispeech", "--root", librispeech)
    done = run("check", "dataset", *corpus, "--language", "it", "--json")
    assert done.code == 1
    assert "has no it; of languages it has en" in done.out
    assert run("check", "dataset", "librispech").code == 2
