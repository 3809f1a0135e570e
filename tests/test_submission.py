"""Claims of a result held against its columns, and results placed by `xbench submit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from of_today import of_today
from xbench import Call, ExecutionOptions, RunSpec, Selection, evaluate, load_model, store
from xbench.claims import examine, hypotheses
from xbench.claims.here import packaged_models
from xbench.claims.standing import obstacles, unregistered
from xbench.cli.submission import next_steps, submit
from xbench.cli.validation import check_file, check_files
from xbench.errors import EnvironmentProblem, UsageError
from xbench.metrics.quality import utterance_quality
from xbench.results import read_result
from xbench.site.build import Options, build
from xbench.site.load import read_results
from xbench.spec import Quality

SUBMISSIONS = Path(__file__).parents[1] / "submissions"
MISSING: Any = object()


@pytest.fixture(scope="module")
def demo_result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of four clips of the demo, as `xbench eval` writes it."""
    folder = tmp_path_factory.mktemp("demo")
    spec = RunSpec(
        model="xbench-tiny",
        methods=(Call("mean-heads"),),
        tasks=("demo-asr-en",),
        masks=12,
        selection=Selection(limit=4),
    )
    options = ExecutionOptions(str(folder / "results"), str(folder / "cache"), "cpu")
    (result,) = evaluate(spec, options)
    return folder / "results" / result.path()


@pytest.fixture(scope="session")
def whole_result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete result of the demo, as it was submitted, under the versions of today."""
    (file,) = SUBMISSIONS.glob("demo-asr-en/xbench-tiny/mean-heads-heads-all-layers-all-*.json")
    return of_today(file, tmp_path_factory.mktemp("whole") / file.relative_to(SUBMISSIONS))


def with_changes(file: Path, changes: dict[str, Any], target: Path) -> Path:
    """Write a copy of a result with changes: {"scores/0/value": 0.5}; MISSING deletes."""
    data = json.loads(file.read_text("utf-8"))
    for place, value in changes.items():
        *parts, last = place.split("/")
        inner = data
        for part in parts:
            inner = inner[int(part)] if isinstance(inner, list) else inner[part]
        if value is MISSING:
            del inner[last]
        else:
            inner[int(last) if isinstance(inner, list) else last] = value
    target.write_text(json.dumps(data))
    return target


@pytest.fixture
def changed(whole_result: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return the function that writes the complete result with changes: changed({"scores/0/value": 0.5})."""
    return lambda changes: with_changes(whole_result, changes, tmp_path / "result.json")


def problems_of(file: Path) -> tuple[str, ...]:
    """Return what `validate` tells; `submit` and the site must refuse exactly the same files."""
    told = check_file(file).problems
    accepted, refused = read_results([file])
    assert bool(told) == bool(refused) == (not accepted)
    return told


def test_what_eval_writes_has_no_problems(demo_result: Path) -> None:
    assert problems_of(demo_result) == ()


def test_every_committed_submission_is_valid_and_of_a_class_that_is_stated() -> None:
    files = sorted(SUBMISSIONS.rglob("*.json"))
    assert len(files) >= 429
    older = 0
    for file in files:
        result = read_result(file)
        findings = examine(result)
        assert findings.problems == (), file.name
        kinds = {obstacle.kind for obstacle in obstacles(result, findings)}
        # submissions/README.md says the same in words.
        of_demo = file.relative_to(SUBMISSIONS).parts[0].startswith("demo-")
        assert ("local" in kinds) != of_demo, file.name
        assert ("incomplete" in kinds) == (result.status == "unsupported"), file.name
        older += any(line.startswith("reference spes-encoder: was") for line in findings.outdated)
    assert older == 0


def test_what_others_cannot_make_again_is_placed_when_that_is_said(tmp_path: Path) -> None:
    (committed,) = SUBMISSIONS.glob(
        "asr/whisper-whisper-micro-en-zh-he/mean-heads-heads-all-layers-all-*.json"
    )
    file = of_today(committed, tmp_path / "local.json")
    with pytest.raises(UsageError) as refused:
        submit(file, tmp_path)
    told = refused.value.problems  # type: ignore[attr-defined]  # an InvalidFile
    assert [line.split(";")[0] for line in told] == [
        "task.dataset: clips given with --data",
        "model.source: a model in a local folder",
        "others cannot make it again: `--local` places it as a row that says so",
    ]
    assert submit(file, tmp_path, local=True).read_bytes() == file.read_bytes()
    assert [line for line in check_file(file).notes if line.startswith("a local row")] == [
        "a local row, which others cannot make again: clips given with --data",
        "a local row, which others cannot make again: a model in a local folder",
    ]
    accepted, _ = read_results([file])
    assert accepted[0].local == ("clips given with --data", "a model in a local folder")


def test_a_metric_of_nobodys_package_matters_only_as_the_headline() -> None:
    plugins = [
        {"kind": kind, "name": f"my-{kind}", "distribution": owner}
        for kind, owner in (("metric", "local"), ("method", "local"), ("reference", "xbench"))
    ]
    assert unregistered(plugins, "pearson") == "method 'my-method'"
    assert unregistered(plugins, "my-metric") == "metric 'my-metric' and method 'my-method'"
    assert unregistered(plugins[::2], "pearson") is None


SCORE, REFERENCE = "pearson@spes-encoder", "spes-encoder"
EMPTY = {"value": 0.5, "ci": [0.4, 0.6], "reason": None, "ci_reason": None}
GATE = {
    **{"name": "random-token", "status": "pass", "value": 0.95, "threshold": 0.9},
    **{"ci": None, "n": 4, "reason": None},
}
FITTED = {"split": "dev", "n": 8, "choice": {}}
FALSE: list[tuple[str, Any, str]] = [
    ("scores/0/value", 0.987, "scores[0].value: 0.987, but the utterance columns give"),
    ("scores/1/value", None, "scores[1].value: null, but the utterance columns give"),
    ("scores/0/n", 3, "scores[0].n: 3, but the utterance columns give 32"),
    ("scores/0/n_clusters", 9, "scores[0].n_clusters: 9, but"),
    ("scores/0/ci", [0.99, 1.0], "scores[0].ci: [0.99, 1], but"),
    ("scores/0/ci", None, "scores[0].ci: null, but"),
    ("scores/0/ci_reason", "no idea", "scores[0].ci_reason: 'no idea', but"),
    ("scores/0/reason", "no idea", "scores[0].reason: 'no idea', but"),
    ("scores/0/floor/value", 0.5, "scores[0].floor.value: 0.5, but"),
    ("scores/0/floor/ci", [0.0, 0.1], "scores[0].floor.ci: [0, 0.1], but"),
    ("scores/0/ceiling/value", 0.5, "scores[0].ceiling.value: 0.5, but"),
    ("scores/0/skill/value", 0.999, "scores[0].skill.value: 0.999, but"),
    ("scores/0/skill/ci", [0.99, 1.0], "scores[0].skill.ci: [0.99, 1], but"),
    ("scores/0/disattenuated/value", 2.0, "scores[0].disattenuated.value: 2, but"),
    ("scores/0/undefined", {"single-token": 1}, "scores[0].undefined: counts 1 values"),
    ("scores/0/direction", "lower", "scores[0].direction: 'lower', but of pearson higher"),
    ("scores/0/clusters_assumed", True, "scores[0].clusters_assumed: true, but"),
    ("scores/0/reference", "spes-input", "missing; what a score claims is recomputed"),
    ("scores/3/metric_params", {"share": 0.1}, "scores[3].metric_params: incomplete"),
    ("scores/3/metric_params", {}, "scores[3].metric_params: incomplete; "),
    ("scores/0/tokens_left_out", {"quiet": 9999}, "scores[0].tokens_left_out.quiet: 9999 of "),
    ("scores/6/skill", EMPTY, "scores[6].skill.value: 0.5, but there is no column"),
    ("scores/6/tokens_left_out", {"too-loud": 3}, "tokens_left_out.too-loud: there is no column"),
    ("scores/1/metric", "pearson", "scores[1]: pearson@spes-encoder stands twice"),
    ("references/0/reliability/value", 0.5, "references[0].reliability.value: 0.5, but"),
    ("references/0/masks", [1, 1], "references[0].masks: in both halves: 2, but"),
    ("references/0/converged", False, "references[0].converged: False, but converged_share is 1"),
    ("references/0/kept", 1.5, "references[0].kept: 1.5 is not between 0 and 1"),
    ("references/0/params/p", 7.0, "references[0].params: spes-encoder: 'p=7.0' must be"),
    ("references/0/ceiling/pearson/value", 0.5, "references[0].ceiling.pearson.value: 0.5, but"),
    ("references/0/unreliable_rows/below", 0, "references[0].unreliable_rows: 0 below"),
    ("references/0/masks_per_utterance/min", 1, "masks_per_utterance.min: 1, but"),
    ("quality/value", 99.0, "quality.value: 99 is not between"),
    ("quality/poor", 9, "quality.poor: 9, but"),
    ("quality/n", 99, "quality.n: 99, but"),
    ("status", "partial", "reason: there must be one"),
    ("task/selection/limit", 4, "status: complete, but the result has a selection of the split"),
    ("task/selection/ids", ["en-0001"], "status: complete, but the result has a selection"),
    ("task/dataset/n", 33, "task.dataset.n: 33, but 32 utterances were scored"),
    ("failures", [{"id": "x", "reason": "r", "message": "m"}], "the result has 1 failures"),
    ("task/hash", "0", "task.hash: '0' is not a SHA-256"),
    ("task/dataset/fingerprint", "x" * 64, "task.dataset.fingerprint: 'xxx"),
    ("provenance/spec_hash", "/../../x", "provenance.spec_hash: '/../../x' is not a SHA-256"),
    ("provenance/finished", "9999-12-31T00:00:00+00:00", "finished: 9999-12-31T00:00:00+00:00 has"),
    ("provenance/finished", "2001-01-01T00:00:00+00:00", "is before the start"),
    ("provenance/started", "yesterday", "provenance.started: 'yesterday' is not a date"),
    ("provenance/seed", -1, "provenance.seed: -1 is below 0"),
    ("cost/seconds", None, "cost: passes and seconds are null together"),
    ("cost/seconds_per_audio_second", -1.0, "cost.seconds_per_audio_second"),
    ("padding_mass", 3.0, "padding_mass: 3 is not between 0 and 1"),
    (
        "sinks",
        {"frames": 3, "mean": 0.5, "heads": [[0.5], [1.5]]},
        "sinks.heads: 1.5 is not between",
    ),
    ("sinks", {"frames": 3, "mean": 0.5, "heads": [[0.5], [0.5, 0.5]]}, "sinks.heads: its layers"),
    (
        "sinks",
        {"frames": 3, "mean": 0.5, "heads": [[0.1, 0.2]]},
        "sinks.mean: 0.5, but the mean over heads is 0.1500",
    ),
    ("method/signed", True, "method.signed: True, but of mean-heads it is False"),
    ("method/params/heads", "loud", "method.params: mean-heads: 'heads=loud' is not"),
    ("method/params", {"heads": "all"}, "method.params: {'heads': 'all'}, but complete"),
    ("utterances/cluster", ["a"], "utterances.cluster: 1 values for 32 utterances"),
    (f"utterances/{SCORE}", MISSING, f"utterances.{SCORE}: missing"),
    (f"utterances/floor:{SCORE}", MISSING, f"utterances.floor:{SCORE}: missing"),
    (f"utterances/ceiling:{SCORE}", MISSING, f"utterances.ceiling:{SCORE}: missing"),
    ("utterances/hypothesis", MISSING, "utterances.hypothesis: missing"),
    (f"utterances/reliability@{REFERENCE}", MISSING, f"reliability@{REFERENCE}: missing"),
    ("utterances/id/0", 5, "utterances.id[0]: expected a text, found the number 5"),
    ("utterances/id/1", "en-0001", "utterances.id[1]: 'en-0001' stands at 0 already"),
    ("utterances/id/0", "mine", "utterances.id[0]: 'mine' is no clip of demo"),
    ("utterances/tokens/0", 1.5, "utterances.tokens[0]: expected a whole number"),
    (f"utterances/{SCORE}/0", "high", f"utterances.{SCORE}[0]: expected a number or null"),
    (f"utterances/{SCORE}/0", 99, f"utterances.{SCORE}[0]: 99 is not between -1 and 1"),
    (f"utterances/floor:{SCORE}/0", -99, f"utterances.floor:{SCORE}[0]: -99 is not between"),
    (f"utterances/row_reliability@{REFERENCE}/0", [0.1], f"reliability@{REFERENCE}[0]: 0."),
    (f"utterances/row_reliability@{REFERENCE}/0", None, f"reliability@{REFERENCE}[0]: 0."),
    (f"utterances/row_reliability@{REFERENCE}/0", [0.1], "[0] has 1 rows, but utterances.tokens"),
    (f"utterances/reliability@{REFERENCE}/0", None, f"reliability@{REFERENCE}[0]: null, but"),
    (f"utterances/ceiling:{SCORE}/0", 0.2, f"utterances.ceiling:{SCORE}[0]: 0.2, but"),
    (f"utterances/ceiling:{SCORE}/0", None, f"utterances.ceiling:{SCORE}[0]: null, but"),
    ("references/0/unreliable_rows/bound", -1.0, "unreliable_rows.bound: -1, but a row counts"),
    ("references/0/converged_share", 0.5, "converged_share: 0.5, but the utterance columns give 1"),
    (
        f"utterances/masks@{REFERENCE}/0",
        10**6,
        "masks: 1000000 of an utterance, but the parameters",
    ),
    ("gates", [GATE], "gates[0].status: pass, but by its value and threshold: fail"),
    ("gates", [{**GATE, "ci": [0.8, 0.91]}], "gates[0].status: pass, but by its value"),
    ("gates", [{**GATE, "value": None}], "by its value and threshold: not-applicable"),
    ("model/n_parameters", 99, "model.n_parameters: 99, but of xbench-tiny it is 1333760"),
    ("utterances/map_hash/0", None, "utterances.map_hash[0]: null, but utterances.pearson@"),
    (
        "utterances/map_hash",
        ["a" * 16] * 32,
        "utterances.map_hash[5]: that of row 4, but utterances.frames is 222",
    ),
    ("method/authorship/paper", "https://x.org", "method.authorship.paper: 'https://x.org', but"),
    ("method/authorship/authors", "me", "method.authorship.authors: 'me', but of mean-heads it is"),
    ("method/fitted", FITTED, "but mean-heads does not learn"),
    ("provenance/plugins", [], "provenance.plugins: empty, but a run names at least"),
    ("provenance/plugins/1/name", "random", "plugins[1].name: 'random', but the method is"),
    ("provenance/plugins/1/version", "0", "plugins[1].version: '0', but provenance.xbench is"),
    ("method/name", "mine", "plugins[1].name: 'mean-heads', but the method is 'mine'"),
    ("method/name", "mean\u2010heads", "method.name: holds U+2010, and must be ASCII"),
    ("method/name", "me\u0430n-heads", "method.name: holds U+0430, and must be ASCII"),
    (
        "model/name",
        "xbench\u200b-tiny",
        "model.name: holds characters that are not seen: xbench\\u",
    ),
]


@pytest.mark.parametrize(("place", "value", "expected"), FALSE)
def test_a_claim_that_its_columns_or_names_contradict_is_told_with_its_place(
    changed: Callable[..., Path], place: str, value: Any, expected: str
) -> None:
    told = problems_of(changed({place: value}))
    assert any(expected in problem for problem in told), told
    assert all(problem.startswith(str(changed({}))) for problem in told)


def test_hypotheses_of_a_translation_are_judged_in_the_language_of_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = next(
        SUBMISSIONS.glob("demo-st-multi/xbench-tiny/mean-heads-heads-all-layers-all-*.json")
    )
    seen: list[tuple[str, str]] = []

    def judge(quality: Quality, text: str, target: str, language: str) -> float:
        seen.append((target, language))
        return utterance_quality(quality, text, target, language)

    whole = of_today(file, tmp_path / "of-today" / file.relative_to(SUBMISSIONS))
    monkeypatch.setattr(hypotheses, "utterance_quality", judge)
    assert list(hypotheses.hypothesis_problems(read_result(whole))) == []
    assert {language for _, language in seen} == {"en"}  # spoken are German, French and Italian
    assert len(seen) == len(read_result(whole).utterances["id"])


def test_a_gate_that_its_numbers_bear_out_or_that_nobody_knows_is_no_false_claim(
    changed: Callable[..., Path],
) -> None:
    sound = {**GATE, "value": 0.85, "ci": [0.8, 0.89]}
    failed = {**GATE, "status": "fail"}
    largest = {**GATE, "name": "determinism", "value": 1e-5, "threshold": 1e-5}
    unknown = {**GATE, "name": "of-somebody"}
    without = {**GATE, "status": "not-applicable", "value": None, "threshold": None}
    assert problems_of(changed({"gates": [sound, failed, largest, unknown, without]})) == ()


@pytest.mark.parametrize("name", packaged_models())
def test_what_is_known_of_the_models_that_come_with_xbench_is_what_they_are(name: str) -> None:
    info = load_model(name, device="cpu").info
    for fact, known in packaged_models()[name].items():
        assert getattr(info, fact) == known


def test_a_model_of_our_name_and_of_another_revision_is_as_stated(
    changed: Callable[..., Path],
) -> None:
    other = examine(read_result(changed({"model/revision": "sha256:" + "0" * 64})))
    assert other.problems == ()
    assert "model 'xbench-tiny' has another revision here" in " ".join(other.unchecked)


def test_the_method_that_is_the_floor_scores_as_the_floor(tmp_path: Path) -> None:
    (file,) = SUBMISSIONS.glob("demo-asr-en/xbench-tiny/diagonal-width-0.2-*.json")
    whole = of_today(file, tmp_path / "of-today" / file.relative_to(SUBMISSIONS))
    (row, other) = (f"utterances/floor:{SCORE}/0", "method/params/width")
    expected = "but diagonal is the floor of this task"
    assert not any(expected in problem for problem in problems_of(whole))
    told = problems_of(with_changes(whole, {row: 0.123}, tmp_path / "floor.json"))
    assert any(expected in problem for problem in told), told
    told = problems_of(with_changes(whole, {row: 0.123, other: 0.1}, tmp_path / "wide.json"))
    assert not any(expected in problem for problem in told), told


@pytest.mark.parametrize("task", ["demo-asr-en", "demo-asr-multi", "demo-st-multi"])
def test_the_quality_of_hypotheses_is_computed_again_where_the_clips_are_here(
    tmp_path: Path, task: str
) -> None:
    (file,) = SUBMISSIONS.glob(f"{task}/xbench-tiny/uniform-*.json")
    whole = of_today(file, tmp_path / "whole.json")
    data = json.loads(whole.read_text("utf-8"))
    metric, texts = data["quality"]["metric"], data["utterances"]["hypothesis"]
    cells = data["utterances"][metric]
    row = next(row for row, cell in enumerate(cells) if cell and "hello there" not in texts[row])
    changes: list[tuple[dict[str, Any], str]] = [
        ({f"utterances/{metric}": [0.0] * len(cells)}, f"utterances.{metric}["),
        ({f"utterances/{metric}/{row}": cells[row] * 0.99999}, f"utterances.{metric}[{row}]: "),
        ({f"utterances/{metric}/{row}": None}, f"utterances.{metric}[{row}]: null, but its"),
        ({f"utterances/hypothesis/{row}": "hello there"}, f"utterances.{metric}[{row}]: "),
        ({"utterances/hypothesis": texts[::-1]}, "but its hypothesis and the text of clip"),
        ({"quality/value": data["quality"]["value"] * 0.99999}, "quality.value: "),
    ]
    for change, expected in changes:
        told = problems_of(with_changes(whole, change, tmp_path / "changed.json"))
        assert any(expected in line and " give " in line for line in told), (change, told)
    rounded = {f"utterances/{metric}/{row}": cells[row] * (1 - 1e-8)}
    assert problems_of(with_changes(whole, rounded, tmp_path / "rounded.json")) == ()


def test_hypotheses_on_clips_that_are_not_here_are_as_stated(changed: Callable[..., Path]) -> None:
    elsewhere = {"task/dataset/fingerprint": "0" * 64, "utterances/hypothesis/0": "hello there"}
    found = examine(read_result(changed(elsewhere)))
    assert found.problems == ()
    assert "costs, and the quality of the hypotheses, are as stated" in found.unchecked


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Results of three methods of one run, as they were submitted."""
    folder = tmp_path_factory.mktemp("one-run")
    files = [
        *SUBMISSIONS.glob("demo-asr-en/xbench-tiny/mean-heads-heads-all-layers-all-*.json"),
        *SUBMISSIONS.glob("demo-asr-en/xbench-tiny/uniform-*.json"),
        *SUBMISSIONS.glob("demo-asr-en/xbench-tiny/alti-layers-all-*.json"),
    ]
    assert len(files) == 3
    return [of_today(file, folder / file.relative_to(SUBMISSIONS)) for file in files]


def with_scaled(file: Path, prefix: str, by: float, target: Path) -> Path:
    """Write a copy of a result with scaled columns, and everything that follows from them computed again."""
    columns = json.loads(file.read_text("utf-8"))["utterances"]
    changes = {
        f"utterances/{name}": [value and value * by for value in cells]
        for name, cells in columns.items()
        if name.startswith(prefix)
    }
    return of_today(with_changes(file, changes, target), target)


FORGED = ("floor:pearson@", "weighted-floor:pearson@", "ceiling:pearson-paper@")


@pytest.mark.parametrize("prefix", FORGED)
def test_a_floor_or_ceiling_that_other_methods_of_the_run_do_not_have_is_told(
    one_run: list[Path], tmp_path: Path, prefix: str
) -> None:
    honest, other, third = one_run
    assert [told.problems for told in check_files(one_run)] == [(), (), ()]
    forged = with_scaled(honest, prefix, 0.2, tmp_path / "forged.json")
    assert problems_of(forged) == ()
    told = check_files([forged, other, third])
    assert [bool(each.problems) for each in told] == [True, False, False]
    (line, *_) = told[0].problems
    assert line.startswith(f"{forged}: utterances.{prefix}spes-")
    assert f"in {other} and 1 more, over 32 common utterances" in line
    of_two = check_files([forged, other])
    assert f"in {forged}, over 32 common" in of_two[1].problems[0]
    assert of_two[0].problems


def test_what_machines_differ_by_and_results_of_other_runs_contradict_nobody(
    one_run: list[Path], tmp_path: Path
) -> None:
    honest, other, _ = one_run
    rounded = with_scaled(honest, FORGED[0], 1.02, tmp_path / "rounded.json")
    forged = with_scaled(honest, FORGED[0], 0.2, tmp_path / "forged.json")
    changes = {"provenance/seed": 1, "model/precision": "bfloat16", "task/hash": "0" * 64}
    for place, value in changes.items():
        elsewhere = with_changes(forged, {place: value}, tmp_path / "elsewhere.json")
        elsewhere = of_today(elsewhere, elsewhere)
        assert [told.problems for told in check_files([rounded, other, elsewhere])] == [(), (), ()]
    false = with_changes(forged, {"scores/0/value": 0.9}, tmp_path / "false.json")
    assert [bool(told.problems) for told in check_files([false, other])] == [True, False]


def test_submit_holds_a_result_against_those_that_lie_there(
    one_run: list[Path], tmp_path: Path
) -> None:
    honest, other, _ = one_run
    forged = with_scaled(honest, FORGED[0], 0.2, tmp_path / "forged.json")
    folder = tmp_path / "submissions"
    folder.mkdir()
    there = submit(other, folder)
    (there.parent / "broken.json").write_text("{")
    with pytest.raises(UsageError, match=f"in {there}, over 32 common utterances"):
        submit(forged, folder)
    assert submit(honest, folder).is_file()


def test_the_leaderboard_leaves_out_a_result_that_others_of_its_run_contradict(
    one_run: list[Path], tmp_path: Path
) -> None:
    honest, other, third = one_run
    kept, refused = read_results(one_run)
    assert (len(kept), refused) == (3, ())
    forged = with_scaled(honest, FORGED[0], 0.2, tmp_path / "forged.json")
    kept, (refusal,) = read_results([forged, other, third])
    assert {each.file for each in kept} == {other.name, third.name}
    assert refusal.file == "forged.json"
    assert f"in {third.name} and 1 more, over 32 common utterances" in refusal.reason
    # Also where two folders hold files of one name.
    namesake = tmp_path / other.name
    forged.rename(namesake)
    kept, (refusal,) = read_results([namesake, other, third])
    assert refusal.file == other.name
    with pytest.raises(UsageError, match="without --strict such files are left out"):
        build([namesake, other, third], tmp_path / "site", Options(strict=True))


def test_a_score_without_any_column_is_refused(
    changed: Callable[..., Path], whole_result: Path
) -> None:
    columns = json.loads(whole_result.read_text("utf-8"))["utterances"]
    told = problems_of(
        changed({"utterances": {name: [] for name in columns}, "scores/0/value": 0.999})
    )
    assert any("status: complete, but no utterance was scored" in problem for problem in told)
    assert any("scores[0].value: 0.999, but" in problem for problem in told)


def test_a_renamed_cluster_is_told_where_the_clips_are_known(changed: Callable[..., Path]) -> None:
    told = problems_of(changed({"utterances/cluster/0": "f9"}))
    assert any("utterances.cluster[0]: 'f9', but the cluster of" in problem for problem in told)


def test_a_package_of_ours_has_what_a_result_says_that_it_has(
    changed: Callable[..., Path],
) -> None:
    ours = {"method/name": "mine", "provenance/plugins/1/name": "mine"}
    told = problems_of(changed(ours))
    assert any("plugins[1]: method 'mine' of xbench" in line for line in told), told
    metric = changed({"provenance/plugins/2/name": "mine"})
    assert any("plugins[2]: metric 'mine' of xbench" in line for line in problems_of(metric))
    assert problems_of(changed({**ours, "provenance/plugins/1/distribution": "theirs"})) == ()
    versions = {f"provenance/plugins/{n}/version": "9.9" for n in range(10)}
    assert problems_of(changed({**ours, **versions, "provenance/xbench": "9.9"})) == ()


def test_who_made_a_method_of_another_package_or_of_an_older_file_is_as_stated(
    changed: Callable[..., Path],
) -> None:
    other = {"method/authorship/authors": "me", "provenance/plugins/1/distribution": "theirs"}
    assert problems_of(changed(other)) == ()
    assert problems_of(changed({"method/authorship": None})) == ()


def test_a_method_that_learns_says_what_it_learned(tmp_path: Path) -> None:
    (file,) = SUBMISSIONS.glob("demo-asr-en/xbench-tiny/best-head-*.json")
    whole = of_today(file, tmp_path / "whole.json")
    assert problems_of(whole) == ()
    told = problems_of(with_changes(whole, {"method/fitted": None}, tmp_path / "null.json"))
    assert any("method.fitted: null, but best-head learns" in line for line in told), told


def test_one_map_may_be_that_of_two_utterances_of_one_shape(changed: Callable[..., Path]) -> None:
    def one_map(*rows: int) -> dict[str, Any]:
        values = [("map_hash", "a" * 16), ("frames", 5)]
        return {f"utterances/{name}/{row}": value for row in rows for name, value in values}

    assert problems_of(changed(one_map(4, 5))) == ()  # both of 9 tokens
    told = problems_of(changed(one_map(0, 1)))
    assert any("map_hash[1]: that of row 0, but utterances.tokens is 11" in line for line in told)
    # A text that was cut off has no row for its end, and constant maps may have the same bytes.
    assert problems_of(changed({**one_map(0, 1), "utterances/truncated/1": True})) == ()
    other = {**one_map(0, 1), "utterances/frames/1": 6}
    assert problems_of(changed(other)) == ()


def test_two_files_that_say_one_key_twice_are_refused_by_all(
    whole_result: Path, tmp_path: Path
) -> None:
    text = whole_result.read_text("utf-8").replace('"seed": 0', '"seed": 0, "seed": 0', 1)
    file = tmp_path / "twice.json"
    file.write_text(text)
    (problem,) = problems_of(file)
    assert "the key 'seed' stands twice" in problem


def test_costs_of_maps_made_elsewhere_may_be_unknown_but_not_those_of_a_registered_method(
    changed: Callable[..., Path],
) -> None:
    unknown = dict.fromkeys(("cost/forward_passes", "cost/backward_passes", "cost/seconds"))
    told = problems_of(changed(unknown))
    assert any("whose costs are counted" in problem for problem in told)
    theirs = {"method/name": "theirs", "provenance/plugins/1/name": "theirs"}
    theirs |= {"provenance/plugins/1/distribution": "their-package"}
    assert problems_of(changed({**unknown, **theirs})) == ()


def test_what_nothing_shows_is_named(changed: Callable[..., Path]) -> None:
    whole = examine(read_result(changed({})))
    assert whole.unchecked == ("costs are as stated",)
    foreign = {"method/name": "mine", "task/dataset/name": "mine"}
    told = " ".join(examine(read_result(changed(foreign))).unchecked)
    assert "method 'mine' is not registered here" in told
    assert "the clips of 'mine' are not on this machine" in told
    assert "does not come with xbench" not in told
    model = examine(read_result(changed({"model/name": "theirs"}))).unchecked
    assert "model 'theirs' does not come with xbench: what it is, is as stated" in model
    assert "(spec_hash) cannot be computed again" in told


def test_what_has_changed_since_is_no_lie_but_told(changed: Callable[..., Path]) -> None:
    old = changed(
        {
            "method/version": "0",
            "task/hash": "0" * 64,
            "task/floor": "diagonal:width=0.1",
            "references/0/params/p": 0.5,
            "scores/0/metric_version": "0",  # of the metric that ranks
            "scores/1/metric_version": "0",
        }
    )
    assert problems_of(old) == ()
    told = " ".join(check_file(old).notes)
    assert "method mean-heads: was version 0, here it is 1" in told
    assert "floor was diagonal:width=0.1, here it is diagonal:width=0.2" in told
    assert "spes-encoder had p=0.5; here it has p=" in told
    assert "metric pearson: was version 0, here it is 2" in told
    unstated = changed({"scores/0/metric_version": None, "scores/0/ci": [0.5, 0.6]})
    assert "metric pearson: its version is not stated" in " ".join(check_file(unstated).notes)
    with pytest.raises(UsageError, match="evaluate again"):
        submit(unstated, unstated.parent)
    easy = " ".join(check_file(changed({"quality/poor_threshold": 0.0})).notes)
    assert "quality.poor_threshold was 0.0, here it is" in easy
    assert "metric pearson-paper" not in told  # the site ranks its scores apart by version
    with pytest.raises(UsageError, match="evaluate again"):
        submit(old, old.parent)


def test_a_result_that_says_it_is_of_todays_task_must_be(changed: Callable[..., Path]) -> None:
    told = problems_of(changed({"task/floor": "uniform"}))
    assert any("task.hash: that of the task here, but floor was uniform" in line for line in told)
    other = examine(read_result(changed({"task/hash": "0" * 64})))
    assert other.problems == ()
    assert any("hash of task 'demo-asr-en' is not that of" in line for line in other.unchecked)


def test_submit_refuses_what_cannot_be_ranked(
    demo_result: Path, changed: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="only complete runs are ranked"):
        submit(demo_result, tmp_path)
    with pytest.raises(UsageError, match="evaluate again"):
        submit(demo_result, tmp_path)  # of 12 masks, where the task has thousands
    with pytest.raises(UsageError, match="only registered datasets"):
        submit(changed({"task/dataset/name": "clips"}), tmp_path)
    with pytest.raises(UsageError, match="only registered tasks"):
        submit(changed({"task/name": "mine"}), tmp_path)
    with pytest.raises(UsageError, match="models that others can load"):
        submit(changed({"model/name": "whisper:mine"}), tmp_path)
    with pytest.raises(UsageError, match="utterance columns give"):
        submit(changed({"scores/0/value": 0.9}), tmp_path)
    with pytest.raises(UsageError, match="none of the headline"):
        submit(changed({"task/headline/metric": "cosine"}), tmp_path)
    assert list(tmp_path.rglob("*.json")) == [tmp_path / "result.json"]


def test_submit_places_the_file_unchanged(whole_result: Path, tmp_path: Path) -> None:
    folder = tmp_path / "submissions"
    with pytest.raises(UsageError, match="make it, name another with --to"):
        submit(whole_result, folder)
    folder.mkdir()
    target = submit(whole_result, folder)
    assert target == folder / whole_result.relative_to(whole_result.parents[2])
    assert target.read_bytes() == whole_result.read_bytes()
    assert str(target) in next_steps(target)
    assert "CONTRIBUTING.md" not in next_steps(target)
    assert submit(whole_result, folder) == target  # the same file again is no problem
    target.write_text("{}")
    with pytest.raises(UsageError, match="another result of this run"):
        submit(whole_result, folder)
    assert target.read_text() == "{}"


def test_an_interrupted_submission_leaves_nothing(
    whole_result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "submissions"
    folder.mkdir()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", fail)
    with pytest.raises(EnvironmentProblem, match="full"):
        submit(whole_result, folder)
    assert [p for p in folder.rglob("*") if p.is_file()] == []


def test_a_method_of_others_without_public_code_is_told_what_reviewers_ask_for(
    changed: Callable[..., Path],
) -> None:
    plugin = {"kind": "method", "name": "mean-heads", "distribution": "theirs", "version": "1"}
    nobody = dict.fromkeys(("authors", "code", "paper", "licence"))
    file = changed({"provenance/plugins": [plugin], "method/authorship": nobody})
    assert "names no link to the code and no licence of its method" in next_steps(file)
    known = {**nobody, "code": "https://example.org/mine"}
    file = changed({"provenance/plugins": [plugin], "method/authorship": known})
    assert "names no licence of its method" in next_steps(file)
