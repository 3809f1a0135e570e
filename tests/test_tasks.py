"""Task and suite files: finding, including, checking and building them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from xbench import registry, tasks
from xbench.description import (
    DatasetDescription,
    Description,
    MethodDescription,
    MetricDescription,
    Parameter,
    ReferenceDescription,
    TaskFolder,
)
from xbench.errors import UnknownName, UsageError
from xbench.registry import Entry
from xbench.schemas import InvalidFile
from xbench.spec import Call, Dataset, Headline, Quality, Scoring, content_hash
from xbench.tasks import folders
from xbench.tasks.strict_yaml import display

COMMON: dict[str, Any] = {"version": "1", "summary": "", "source": "", "implementation": "x:y"}
MASKS = Parameter("masks", "int", "number of masks", required=True, minimum=6)
SHARE = Parameter("p", "float", "share", default=0.5, minimum=0, maximum=1)
FAKES: dict[str, list[Description]] = {
    "xbench.references": [
        ReferenceDescription(
            name=n, parameters=(MASKS, SHARE), space="encoder", estimator="m", **COMMON
        )
        for n in ("ref-a", "ref-b")
    ],
    "xbench.metrics": [
        MetricDescription(
            name=n,
            family="agreement",
            higher_is_better=True,
            range=(-1, 1),
            parameters=(SHARE,),
            **COMMON,
        )
        for n in ("corr", "corr-paper")
    ],
    "xbench.methods": [
        MethodDescription(
            name="ramp", kind="control", distribution=True, parameters=(SHARE,), **COMMON
        )
    ],
    "xbench.datasets": [
        DatasetDescription(name="toy", licence="CC0", splits={"test": "", "dev": ""}, **COMMON)
    ],
}
FRAGMENT = {
    "decoding": {"beams": 5, "no_repeat_ngram": 5},
    "space": "encoder",
    "references": {"ref-a": {"p": 0.7}, "ref-b": {}},
    "scoring": {"window": "block"},
    "metrics": ["corr", "corr-paper"],
    "headline": {"metric": "corr", "reference": "ref-a"},
    "floor": "ramp:p=0.1",
    "preset": "fast",
    "presets": {
        "fast": {"references": {"ref-a": {"masks": 20}, "ref-b": {"masks": 30}}},
        "paper": {
            "references": {"ref-a": {"masks": 200}, "ref-b": {"masks": 200}},
            "headline": {"metric": "corr-paper", "reference": "ref-b"},
            "scoring": {"window": "centred"},
            "decoding": {"beams": 1},
        },
    },
}
TASK = {
    "schema": "xbench.task/1",
    "name": "t",
    "version": 3,
    "title": "A task",
    "include": "_base.yaml",
    "kind": "asr",
    "source_languages": ["en", "no"],
    "target_language": None,
    "dataset": {"name": "toy", "dev_split": "dev"},
    "licence": "CC0-1.0",
    "quality": {"metric": "wer", "poor": 50},
}


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False))
    return path


def suite(folder: Path, name: str, *members: str) -> Path:
    value = {"schema": "xbench.suite/1", "name": name, "version": 1, "title": name.upper()}
    return write(folder, name, {**value, "tasks": list(members)})


def task(folder: Path, name: str = "t", **changes: Any) -> Path:
    return write(folder, name, {**TASK, "name": name, **changes})


def register(patch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Replace all entry points by the fakes and by these task folders, named like the folders."""
    own = []
    for folder in folders:
        function = f"folder_{folder.name}"
        patch.setattr(tasks, function, lambda folder=folder: folder, raising=False)
        common = {**COMMON, "implementation": f"xbench.tasks:{function}"}
        own.append(TaskFolder(name=folder.name, **common))
    fakes = {**FAKES, "xbench.tasks": own}
    patch.setattr(
        registry,
        "_load",
        lambda group, _: [Entry(d.name, f"dist-{d.name}", "1", "", d, None) for d in fakes[group]],
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registered task folder `mine` with a fragment `_base.yaml` and a task `t`."""
    mine = tmp_path / "mine"
    write(mine, "_base", FRAGMENT)
    task(mine)
    register(monkeypatch, mine)
    return mine


def only_problem(path: Path) -> str:
    (problem,) = tasks.validate_task_file(path)
    return problem


def line_of(path: Path, text: str) -> int:
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


# Building


def test_a_task_is_built_with_its_default_preset(folder: Path) -> None:
    spec = tasks.load_task("t")
    assert (spec.name, spec.version, spec.kind, spec.preset) == ("t", 3, "asr", "fast")
    assert spec.source_languages == ("en", "no")
    assert spec.dataset == Dataset("toy", "test", "dev")
    assert spec.references == (
        Call("ref-a", (("masks", 20), ("p", 0.7))),
        Call("ref-b", (("masks", 30), ("p", 0.5))),
    )
    assert spec.metrics == (Call("corr", (("p", 0.5),)), Call("corr-paper", (("p", 0.5),)))
    assert spec.floor == Call("ramp", (("p", 0.1),))
    assert spec.headline == Headline("corr", "ref-a")
    assert spec.quality == Quality("wer", 50.0)
    assert spec.scoring == Scoring()


def test_a_preset_lies_over_the_task(folder: Path) -> None:
    spec = tasks.load_task("t", "paper")
    assert spec.preset == "paper"
    assert [r.given["masks"] for r in spec.references] == [200, 200]
    assert spec.references[0].given["p"] == 0.7
    assert spec.headline == Headline("corr-paper", "ref-b")
    assert spec.scoring.window == "centred"
    assert (spec.decoding.beams, spec.decoding.no_repeat_ngram) == (1, 5)
    assert spec.hash != tasks.load_task("t").hash


def test_a_hash_covers_what_scores_depend_on(folder: Path) -> None:
    spec = tasks.load_task("t")
    other = replace(spec, title="Another title", licence="MIT")
    assert other.hash == spec.hash
    for changed in (
        replace(spec, version=spec.version + 1),
        replace(spec, scoring=replace(spec.scoring, window="centred")),
        replace(spec, metrics=()),
        replace(spec, floor=Call("uniform")),
    ):
        assert changed.hash != spec.hash
        assert not changed.is_of(spec.hash)
    before = content_hash(asdict(spec))  # files of older versions
    assert spec.is_of(spec.hash)
    assert spec.is_of(before)
    assert not other.is_of(before)


def test_an_unknown_preset_offers_the_nearest(folder: Path) -> None:
    with pytest.raises(
        UsageError, match=r"task 't': there is no preset 'papers', did you mean 'paper'"
    ):
        tasks.load_task("t", "papers")


def test_null_takes_an_included_reference_away(folder: Path) -> None:
    presets = {"fast": {"references": {"ref-b": None}}, "paper": {"references": {"ref-b": None}}}
    headline = {"paper": {**presets["paper"], "headline": {"reference": "ref-a"}}}
    task(folder, references={"ref-b": None}, presets={**presets, **headline})
    for preset in ("fast", "paper"):
        assert [r.name for r in tasks.load_task("t", preset).references] == ["ref-a"]


def test_null_wins_over_presets_of_an_included_file(folder: Path) -> None:
    paper = {"headline": {"reference": "ref-a"}}
    task(folder, references={"ref-b": None}, presets={"paper": paper})
    for preset in ("fast", "paper"):
        assert [r.name for r in tasks.load_task("t", preset).references] == ["ref-a"]
    # A preset of the file itself may bring it back.
    own = {"fast": {"references": {"ref-b": {"masks": 7}}}, "paper": paper}
    task(folder, references={"ref-b": None}, presets=own)
    (_, second) = tasks.load_task("t", "fast").references
    assert (second.name, second.given["masks"]) == ("ref-b", 7)


def test_a_headline_that_lost_its_reference_is_told_at_the_null(folder: Path) -> None:
    path = task(folder, references={"ref-b": None})
    line = line_of(path, "ref-b")
    assert only_problem(path).startswith(
        f"{path}:{line}: headline.reference: 'ref-b' is not among the references"
    )


def test_a_preset_whose_headline_is_taken_away_takes_that_of_the_file(folder: Path) -> None:
    task(folder, references={"ref-b": None}, headline={"metric": "corr", "reference": "ref-a"})
    for preset in ("fast", "paper"):
        assert tasks.load_task("t", preset).headline.reference == "ref-a"
    path = task(
        folder, references={"ref-b": None}, headline={"metric": "cor", "reference": "ref-a"}
    )
    with pytest.raises(InvalidFile) as told:
        tasks.load_task("t")
    assert all(line.startswith(f"{path}:") for line in told.value.problems)


@pytest.mark.parametrize("preset", [None, "fast"])
def test_a_null_that_takes_nothing_away_is_told(folder: Path, preset: str | None) -> None:
    given = {"references": {"ref-bb": None}}
    path = task(folder, **({"presets": {preset: given}} if preset else given))
    place = f"presets.{preset}.references.ref-bb" if preset else "references.ref-bb"
    said = only_problem(path)
    assert said.startswith(f"{path}:{line_of(path, 'ref-bb')}: {place}: no included file sets")
    assert "did you mean 'ref-b'" in said


def test_a_task_of_a_path_is_the_task_of_its_name(folder: Path) -> None:
    assert tasks.load_task(folder / "t.yaml") == tasks.load_task(str(folder / "t.yaml"))
    assert tasks.load_task(folder / "t.yaml") == tasks.load_task("t") == tasks.load_task("mine:t")


def test_where_a_task_lies_does_not_enter_its_hash(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, "_base", FRAGMENT)
    assert tasks.load_task(task(elsewhere)).hash == tasks.load_task("t").hash


# Includes


def test_local_keys_win_mappings_merge_and_lists_are_replaced(folder: Path) -> None:
    task(folder, decoding={"beams": 2}, metrics=["corr"], headline={"reference": "ref-b"})
    (folder / "_base.yaml").write_text(
        yaml.safe_dump({**FRAGMENT, "presets": {"fast": FRAGMENT["presets"]["fast"]}})
    )
    spec = tasks.load_task("t")
    assert (spec.decoding.beams, spec.decoding.no_repeat_ngram) == (2, 5)
    assert [m.name for m in spec.metrics] == ["corr"]
    assert spec.headline == Headline("corr", "ref-b")


def test_of_several_includes_the_later_wins(folder: Path) -> None:
    write(folder, "_one", {"decoding": {"beams": 1}, "title": "one"})
    write(folder / "sub", "_two", {"include": "_three.yaml", "decoding": {"beams": 2}})
    write(folder / "sub", "_three", {"decoding": {"beams": 3, "max_tokens": 9}})
    task(folder, include=["_base.yaml", "_one.yaml", "sub/_two.yaml"])
    spec = tasks.load_task("t")
    assert (spec.decoding.beams, spec.decoding.max_tokens, spec.title) == (2, 9, "A task")


def test_an_include_cycle_shows_the_chain(folder: Path) -> None:
    write(folder, "_base", {**FRAGMENT, "include": "_next.yaml"})
    nested = write(folder, "_next", "# a comment\ninclude: _base.yaml\n")
    problem = only_problem(folder / "t.yaml")
    assert problem == (
        f"{display(nested)}:2: include: files include each other: "
        "_base.yaml -> _next.yaml -> _base.yaml"
    )


def test_one_fragment_may_be_included_twice(folder: Path) -> None:
    write(folder, "_one", {"include": "_base.yaml"})
    task(folder, include=["_one.yaml", "_base.yaml"])
    assert tasks.validate_task_file(folder / "t.yaml") == []


@pytest.mark.parametrize("by", ["parent", "absolute", "link"])
def test_an_include_stays_in_the_task_folder(folder: Path, tmp_path: Path, by: str) -> None:
    outside = write(tmp_path, "_outside", FRAGMENT)
    (folder / "_link.yaml").symlink_to(outside)
    name = {"parent": "../_outside.yaml", "absolute": str(outside), "link": "_link.yaml"}[by]
    assert f"'{name}' lies outside the task folder" in only_problem(task(folder, include=name))


def test_an_include_from_a_subfolder_may_go_up_to_the_task_folder(folder: Path) -> None:
    path = task(folder / "sub", "deep", include="../_base.yaml")
    assert tasks.validate_task_file(path) == []
    assert tasks.load_task("deep").name == "deep"


def test_a_missing_include_offers_the_nearest(folder: Path) -> None:
    problem = only_problem(task(folder, include="_bse.yaml"))
    assert "there is no file '_bse.yaml', did you mean '_base.yaml'" in problem


@pytest.mark.parametrize("name", ["a\0b.yaml", "x" * 300 + ".yaml"])
def test_an_include_that_is_no_file_name_is_told(folder: Path, name: str) -> None:
    assert "is no file name: " in only_problem(task(folder, include=name))


@pytest.mark.parametrize("include", [3, {"a": 1}, [1], None])
def test_an_include_is_a_name_or_names(folder: Path, include: Any) -> None:
    problem = only_problem(task(folder, include=include))
    assert problem.endswith("include: expected a file name or a list of file names")


# Checks


@pytest.mark.parametrize(
    ("changes", "at", "reason"),
    [
        ({"titel": "x"}, "titel", "titel: unknown key 'titel', did you mean 'title'?"),
        ({"version": 0}, "version", "version: must be at least 1, found the number 0"),
        ({"version": "1"}, "version", "version: expected a whole number, found the text '1'"),
        ({"name": "u"}, "name", "name: 'u' must be the name of the file, 't'"),
        (
            {"decoding": {"beam": 1}},
            "beam",
            "decoding.beam: unknown key 'beam', did you mean 'beams'?",
        ),
        (
            {"source_languages": ["en", 1]},
            "- 1",
            "source_languages[1]: expected a text, found the number 1",
        ),
        (
            {"source_languages": [False]},
            "- false",
            "source_languages[0]: expected a text, found false",
        ),
        (
            {"target_language": "en"},
            "target_language",
            "target_language: a task of kind asr has none, found 'en'",
        ),
        ({"kind": "st", "quality": {"metric": "bleu", "poor": 1}}, "target_language", "needs one"),
        (
            {"kind": "st", "target_language": "it"},
            "metric: wer",
            "quality.metric: a task of kind st takes chrf or bleu, not wer",
        ),
        (
            {"kind": "st", "target_language": "en", "quality": {"metric": "chrf", "poor": 1}},
            "source_languages",
            "source_languages: 'en' is the target language",
        ),
        (
            {"quality": {"metric": "bleu", "poor": 50}},
            "metric: bleu",
            "quality.metric: a task of kind asr takes wer, not bleu",
        ),
        (
            {"dataset": {"name": "toys"}},
            "name: toys",
            "unknown dataset 'toys', did you mean 'toy'?",
        ),
        (
            {"dataset": {"name": "toy", "split": "tset"}},
            "split",
            "no split 'tset', did you mean 'test'?",
        ),
        (
            {"dataset": {"name": "toy", "dev_split": "test"}},
            "dev_split",
            "is the split that is tested on",
        ),
        (
            {"dataset": {"name": "manifest", "dev_split": "dev"}},
            "dev_split",
            "a manifest given with --data has no dev split",
        ),
        ({"floor": "rump"}, "floor", "floor: unknown method 'rump', did you mean 'ramp'?"),
        ({"floor": "ramp:q=1"}, "floor", "ramp: unknown parameter 'q'"),
        ({"preset": "papr"}, "preset", "there is no preset 'papr', did you mean 'paper'?"),
        (
            {"metrics": ["corr", "corr-papr", "corr-paper"]},
            "corr-papr",
            "did you mean 'corr-paper'",
        ),
        ({"metrics": ["corr:p=x", "corr-paper"]}, "p=x", "metrics[0]: corr: 'p=x' is not a number"),
        (
            {"references": {"ref-c": {"masks": 9}}},
            "ref-c",
            "unknown reference 'ref-c', did you mean",
        ),
        ({"references": {"ref-a": {"q": 9}}}, "q: 9", "ref-a: unknown parameter 'q'"),
        ({"references": {"ref-a": {"p": 2}}}, "p: 2", "ref-a: 'p=2' must be >= 0 and <= 1"),
        ({"references": {"ref-a": {"p": [1]}}}, "p:", "references.ref-a.p: expected a text or"),
        (
            {"headline": {"metric": "cor"}},
            "metric: cor",
            "headline.metric: 'cor' is not among the metrics",
        ),
        ({"presets": {"x": {"floor": "ramp"}}}, "floor", "presets.x.floor: unknown key 'floor'"),
        ({"presets": {"x": {"headline": {"reference": "no"}}}}, "reference", "'no' is not among"),
    ],
)
def test_a_problem_names_file_line_key_and_reason(
    folder: Path, changes: dict, at: str, reason: str
) -> None:
    path = write(folder, "t", {**TASK, **changes})
    found = [p for p in tasks.validate_task_file(path) if reason in p]
    assert found, tasks.validate_task_file(path)
    assert found[0].startswith(f"{display(path)}:{line_of(path, at)}: ")
    with pytest.raises(InvalidFile):
        tasks.load_task(path)


def test_a_problem_in_an_included_file_is_located_there(folder: Path) -> None:
    base = write(folder, "_base", {**FRAGMENT, "floor": "rump"})
    assert only_problem(folder / "t.yaml").startswith(
        f"{display(base)}:{line_of(base, 'rump')}: floor"
    )


def test_a_problem_of_a_preset_is_located_in_it_and_told_once(folder: Path) -> None:
    presets = {"fast": {"references": {"ref-a": {"masks": 2}}}}
    path = task(folder, presets=presets)
    problem = only_problem(path)
    assert problem.startswith(f"{display(path)}:{line_of(path, 'masks')}: references.ref-a.masks: ")
    assert "'masks=2' must be >= 6" in problem


def test_every_wrong_parameter_of_a_reference_is_told(folder: Path) -> None:
    path = task(folder, references={"ref-a": {"p": 2, "mask": 3}})
    assert [p.split(": ")[1] for p in tasks.validate_task_file(path)] == [
        "references.ref-a.mask",
        "references.ref-a.p",
    ]


def test_a_parameter_that_no_preset_sets_is_missing(folder: Path) -> None:
    task(folder, presets={"bare": {}}, preset="bare")
    found = tasks.validate_task_file(folder / "t.yaml")
    assert sum("parameter 'masks' is required" in p for p in found) == 2


def test_problems_of_structure_and_of_rules_are_told_together(folder: Path) -> None:
    path = task(folder, titel="x", version=0, floor="rump", target_language="en", name="t")
    found = tasks.validate_task_file(path)
    assert len(found) == 4
    with pytest.raises(InvalidFile) as caught:
        tasks.load_task("t")
    assert list(caught.value.problems) == found
    assert str(caught.value).startswith(f"{display(path)}: 4 problems\n")


@pytest.mark.parametrize("key", sorted({**TASK, **FRAGMENT}.keys() - {"include"}))
def test_every_key_may_be_missing_or_wrong_without_a_crash(folder: Path, key: str) -> None:
    whole = {**TASK, **FRAGMENT}
    del whole["include"]
    without = write(folder, "t", {k: v for k, v in whole.items() if k != key})
    assert any(f"missing key '{key}'" in p for p in tasks.validate_task_file(without))
    for wrong in (None, 1, "x y", [], [None], {}, {"a": None}, {"a": {"b": {}}}, True):
        path = write(folder, "t", {**whole, key: wrong})
        for problem in tasks.validate_task_file(path):
            assert problem.startswith(f"{display(path)}:")


def test_the_language_no_is_not_a_boolean(folder: Path) -> None:
    text = (folder / "t.yaml").read_text().replace("'no'", "no")
    assert "- no\n" in text
    (folder / "t.yaml").write_text(text)
    assert tasks.load_task("t").source_languages == ("en", "no")


def test_fragments_may_be_partial_but_not_wrong(folder: Path) -> None:
    assert tasks.validate_task_file(folder / "_base.yaml") == []
    path = write(folder, "_more", {"decoding": {"beam": 1}})
    assert only_problem(path).endswith("decoding.beam: unknown key 'beam', did you mean 'beams'?")


def test_validating_what_is_no_file(folder: Path) -> None:
    assert "cannot be read" in only_problem(folder / "none.yaml")
    assert "cannot be read" in only_problem(folder)


# Names, folders and suites


def test_an_unknown_name_offers_the_nearest(folder: Path) -> None:
    task(folder, "speech")
    with pytest.raises(UnknownName, match=r"unknown task 'speach', did you mean 'speech'"):
        tasks.load_task("speach")
    with pytest.raises(UnknownName):
        tasks.load_task("_base")


def test_suites_flatten_in_order_without_repetition(folder: Path) -> None:
    for name in ("a", "b", "c"):
        task(folder, name)
    suite(folder, "inner", "b", "a")
    suite(folder, "outer", "c", "inner", "b")
    assert tasks.load_suite("outer") == ("c", "b", "a")
    assert tasks.load_suite(folder / "outer.yaml") == ("c", "b", "a")
    resolved = tasks.resolve_tasks(["a", "outer", str(folder / "a.yaml")], "paper")
    assert [(s.name, s.preset) for s in resolved] == [(n, "paper") for n in ("a", "c", "b")]


def test_a_suite_cycle_shows_the_chain(folder: Path) -> None:
    path = suite(folder, "one", "t", "two")
    nested = suite(folder, "two", "one")
    with pytest.raises(InvalidFile, match=r"suites contain each other: one -> two -> one"):
        tasks.load_suite("one")
    (problem,) = tasks.validate_task_file(path)
    assert problem.startswith(f"{display(nested)}:{line_of(nested, '- one')}: tasks[0]: ")


def test_problems_of_a_suite_are_told_together(folder: Path) -> None:
    path = suite(folder, "s", "t", "tt", "t")
    path.write_text(path.read_text().replace("name: s", "name: other") + "extra: 1\n")
    found = [p.partition(": ")[2] for p in tasks.validate_task_file(path)]
    assert found == [
        "extra: unknown key 'extra'; known: schema, name, version, title, tasks",
        "tasks: holds the text 't' twice",
        "name: 'other' must be the name of the file, 's'",
        "tasks[1]: unknown task 'tt', did you mean 't'?; see `xbench list tasks`",
    ]


def test_tasks_and_suites_are_not_confused(folder: Path) -> None:
    suite(folder, "s", "t")
    with pytest.raises(UsageError, match="'s' is a suite, not a task"):
        tasks.load_task("s")
    with pytest.raises(UsageError, match="'t' is a task, not a suite"):
        tasks.load_suite("t")


def test_a_folder_that_nobody_registered(folder: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    write(loose, "_base", FRAGMENT)
    task(loose, "own")
    path = suite(loose, "s", "own", "t")
    assert tasks.validate_task_file(path) == []
    assert tasks.load_suite(path) == (str(loose / "own.yaml"), "t")
    assert [s.name for s in tasks.resolve_tasks([str(path)])] == ["own", "t"]
    with pytest.raises(UnknownName):
        tasks.load_task("own")


def test_all_tasks_of_a_folder_by_its_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("loose", "t"):
        write(Path(name), "_base", FRAGMENT)
    task(Path("loose"), "own")
    task(Path("loose"), "more")
    suite(Path("loose"), "s", "own", "t")
    task(Path("t"), "in-a-folder-called-t")
    assert [s.name for s in tasks.resolve_tasks(["loose"])] == ["more", "own"]
    assert [s.name for s in tasks.resolve_tasks(["./loose", "t"])] == ["more", "own", "t"]
    assert [s.name for s in tasks.resolve_tasks(["t/"])] == ["in-a-folder-called-t"]
    Path("empty").mkdir()
    with pytest.raises(UsageError, match="empty holds no task file"):
        tasks.resolve_tasks(["empty/"])


def test_two_folders_with_one_name_collide_loudly(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    write(other, "_base", FRAGMENT)
    task(other, title="Another task", version=2)
    task(other, "u")
    register(monkeypatch, folder, other)
    with pytest.raises(
        UsageError, match=r"task 't' has several files: .*; write 'mine:t' or 'other:t'"
    ):
        tasks.load_task("t")
    assert tasks.load_task("other:t").title == "Another task"
    assert tasks.load_task("u").name == "u"
    index = tasks.task_index()
    assert [(f.name, f.folder, f.error is None) for f in index] == [
        ("t", "mine", False),
        ("t", "other", False),
        ("u", "other", True),
    ]
    with pytest.raises(UsageError, match="two different tasks are called 't'"):
        tasks.resolve_tasks(["mine:t", "other:t"])


def test_one_name_twice_in_a_folder_collides(folder: Path) -> None:
    task(folder / "sub", include="../_base.yaml")
    with pytest.raises(UsageError, match="task 't' has several files"):
        tasks.load_task("t")


def test_the_index_lists_everything_and_hides_nothing(folder: Path) -> None:
    suite(folder, "s", "t")
    write(folder, "broken", "a: [\n")
    index = {f.name: f for f in tasks.task_index()}
    assert {name: f.kind for name, f in index.items()} == {
        "t": "task",
        "s": "suite",
        "broken": "broken",
    }
    assert (index["t"].title, index["t"].path) == ("A task", folder / "t.yaml")
    assert "not YAML" in str(index["broken"].error)


def test_a_broken_folder_is_in_the_index_and_harms_no_other(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, folder, tmp_path / "absent")
    assert tasks.load_task("t").name == "t"
    (broken,) = [f for f in tasks.task_index() if f.kind == "broken"]
    assert broken.name == "absent"
    assert "is not a folder" in str(broken.error)


def test_a_folder_function_that_fails_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, folder)
    monkeypatch.delattr(tasks, "folder_mine")
    (broken,) = tasks.task_index()
    assert "AttributeError" in str(broken.error)


# The tasks that xbench comes with


SHIPPED = sorted(tasks.builtin_folder().glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_file_is_valid(path: Path) -> None:
    assert tasks.validate_task_file(path) == []


def test_the_shipped_suites() -> None:
    assert tasks.load_suite("core") == (
        *("asr-en", "asr-multi", "st-multi"),
        *("st-en-it", "st-en-de", "st-en-fr", "st-en-es"),
    )
    assert tasks.load_suite("st-from-en") == tasks.load_suite("core")[3:]
    assert tasks.load_suite("paper") == (
        *("paper-asr-en", "paper-asr-it"),
        *("paper-st-en-it", "paper-st-it-en"),
    )
    assert tasks.load_suite("demo") == ("demo-asr-en", "demo-asr-multi", "demo-st-multi")


@pytest.mark.parametrize(
    "name",
    [
        *("asr", "asr-en", "asr-multi", "st", "st-multi", "listening", "word-times"),
        *("demo-asr-en", "demo-asr-multi", "demo-st-multi"),
        *("st-en-it", "st-en-de", "st-en-fr", "st-en-es"),
        *("paper-asr-en", "paper-asr-it", "paper-st-en-it", "paper-st-it-en"),
    ],
)
def test_shipped_tasks_follow_the_paper_in_the_paper_preset(name: str) -> None:
    fast, paper = tasks.load_task(name, "fast"), tasks.load_task(name, "paper")
    assert fast.headline == Headline("pearson", "spes-encoder")
    assert paper.headline == Headline("pearson-paper", "spes-input")
    plain = {"estimator": "masked-mean", "design": "independent"}  # and no early stop
    assert {r.name: r.given for r in paper.references} == {
        "spes-encoder": {"masks": 20_000, "p": 0.7, "precision": "float32", **plain},
        "spes-input": {
            "masks": 20_000,
            "p": 0.5,
            "rates": "400+500+600",
            "compactness": 0.1,
            "sigma": 0.0,
            "cap_seconds": 7.5,
            **plain,
            "precision": "float32",
            "padding": "exact",
        },
    }
    assert paper.scoring == Scoring()
    assert (paper.decoding.beams, paper.decoding.no_repeat_ngram) == (5, 5)
    assert replace(paper, references=(), headline=fast.headline, preset="fast") == replace(
        fast, references=()
    )


def test_the_packed_folder_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "benchmark" / "xbench"
    monkeypatch.setattr(folders, "__file__", str(package / "tasks" / "folders.py"))
    assert tasks.builtin_folder() == tmp_path / "tasks"
    (package / "_tasks").mkdir(parents=True)
    assert tasks.builtin_folder() == package / "_tasks"


def test_tasks_and_data_need_no_torch() -> None:
    code = (
        "import sys, xbench.tasks, xbench.data.audio; xbench.tasks.resolve_tasks(['demo']);"
        "sys.exit(bool({'torch', 'transformers', 'soundfile'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_tracks_of_the_paper_use_its_preset_and_test_set() -> None:
    conditions = [tasks.load_task(name) for name in tasks.load_suite("paper")]
    assert {task.preset for task in conditions} == {"paper"}
    assert {task.dataset.name for task in conditions} == {"europarl-st"}
    languages = [(t.kind, *t.source_languages, t.target_language) for t in conditions]
    assert languages == [
        ("asr", "en", None),
        ("asr", "it", None),
        ("st", "en", "it"),
        ("st", "it", "en"),
    ]


# Fragments of another folder


def test_a_stranger_includes_the_fragments_of_a_registered_folder(
    folder: Path, tmp_path: Path
) -> None:
    own = task(tmp_path / "elsewhere", include="mine:_base.yaml")
    assert tasks.validate_task_file(own) == []
    assert tasks.load_task(own).hash == tasks.load_task("t").hash
    nested = write(folder / "sub", "_two", {"include": "../_base.yaml", "decoding": {"beams": 2}})
    assert nested.is_file()
    assert tasks.load_task(task(own.parent, include="mine:sub/_two.yaml")).decoding.beams == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mein:_base.yaml", "unknown task 'mein', did you mean 'mine'"),
        ("mine:_bse.yaml", "there is no file 'mine:_bse.yaml', did you mean '_base.yaml'"),
        ("mine:../_outside.yaml", "lies outside the task folder"),
        ("mine:t.yaml", "files include each other"),
    ],
)
def test_a_wrong_include_of_another_folder(
    folder: Path, tmp_path: Path, name: str, reason: str
) -> None:
    write(tmp_path, "_outside", FRAGMENT)
    path = task(folder if name == "mine:t.yaml" else tmp_path / "elsewhere", include=name)
    problem = only_problem(path)
    assert reason in problem
    assert f"{display(path)}:{line_of(path, 'include')}: include: " in problem


# Cost


def test_passes_are_counted_from_the_masks() -> None:
    task = tasks.load_task("paper-asr-en", "fast")
    masks = {call.name: int(call.given["masks"]) for call in task.references}
    assert tasks.passes(task) == {
        # decoding and trace, and one clean pass for each reference
        "full": 1 + masks["spes-input"] + 1,
        "decoder": masks["spes-encoder"] + 1,
    }
    assert tasks.clip_seconds(task) == (11.5, "mean of europarl-st")
    assert tasks.clip_seconds(tasks.load_task("asr")) == (10.0, "assumed")


# What the README says


def test_the_example_of_the_readme_is_a_task(tmp_path: Path) -> None:
    readme = (tasks.builtin_folder() / "README.md").read_text("utf-8")
    blocks = [block.partition("```")[0] for block in readme.split("```yaml\n")[1:]]
    (example,) = [block for block in blocks if "xbench.task/1" in block]
    path = write(tmp_path, "my-task", example)
    assert tasks.validate_task_file(path) == []
    assert tasks.load_task(path).references == tasks.load_task("asr-en").references
    (suite_text,) = [block for block in blocks if "xbench.suite/1" in block]
    assert tasks.validate_task_file(write(tmp_path, "my-suite", suite_text)) == []
    (by_name,) = [block for block in blocks if block.startswith("dataset:")]
    named = write(
        tmp_path, "my-task", example.replace("dataset: {name: manifest}", by_name.strip())
    )
    assert tasks.load_task(named).dataset == Dataset("fleurs", "test", "dev")


# -- until ----------------------------------------------------------------------------------------


def shipped_copy(tmp_path: Path, references: dict[str, Any]) -> Path:
    for file in tasks.builtin_folder().glob("_*.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    value = {
        "schema": "xbench.task/1",
        "name": "mine",
        "version": 1,
        "title": "Mine",
        "include": "_asr.yaml",
        "source_languages": ["en"],
        "dataset": {"name": "manifest"},
        "licence": "CC0-1.0",
        "presets": {"fast": {"references": references}},
    }
    return write(tmp_path, "mine", value)


@pytest.mark.parametrize(
    ("given", "masks", "until"),
    [
        ({}, 20_000, 0.9),
        ({"until": {"max_masks": 500}}, 500, 0.9),
        ({"until": {"reliability": 0.8, "max_masks": 700}}, 700, 0.8),
        ({"until": None, "masks": 300}, 300, None),
        ({"until": 0.7, "masks": 300}, 300, 0.7),
    ],
)
def test_a_reliability_target_becomes_parameters(
    tmp_path: Path, given: dict[str, Any], masks: int, until: float | None
) -> None:
    path = shipped_copy(tmp_path, {"spes-encoder": given})
    assert tasks.validate_task_file(path) == []
    params = tasks.load_task(path).references[0].given
    assert (params["masks"], params.get("until")) == (masks, until)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"masks": 300}, "references.spes-encoder.masks: is given by until.max_masks already"),
        ({"until": {"reliability": 2}}, "'until=2' must be >= 0.01 and <= 0.999"),
        ({"until": {"masks": 2}}, "unknown key 'masks'"),
        ({"estimator": "mean"}, "'estimator=mean' is not one of masked-mean, least-squares"),
    ],
)
def test_a_wrong_target_is_told(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    found = tasks.validate_task_file(shipped_copy(tmp_path, {"spes-encoder": given}))
    assert any(message in problem for problem in found), found
