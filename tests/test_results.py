from __future__ import annotations

import json
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from xbench.errors import UsageError
from xbench.results import (
    CeilingRecord,
    Cost,
    DatasetRecord,
    Failure,
    Interval,
    MethodRecord,
    ModelRecord,
    Provenance,
    QualityRecord,
    ReferenceRecord,
    RunResult,
    ScoreRecord,
    SinksRecord,
    TaskRecord,
    column_name,
    load_results,
    read_result,
    undefined_counts,
)
from xbench.schemas import InvalidFile, problems, schema

NONE = Interval(None, None, "no-values", None)
CEILING = CeilingRecord(0.9, [0.8, 1.0], None, None, None, 0.6)


@pytest.fixture
def result() -> RunResult:
    return RunResult(
        status="partial",
        reason="1 utterance(s) failed or were refused",
        task=TaskRecord(
            name="asr",
            version=1,
            hash="h",
            kind="asr",
            source_language=["en"],
            target_language=None,
            preset="fast",
            split="test",
            selection={"ids": [], "limit": None},
            scoring={"window": "block"},
            decoding={"beams": 5},
            headline={"metric": "pearson", "reference": "spes-encoder"},
            floor="diagonal:width=0.1",
            dataset=DatasetRecord("clips", None, "f", 2),
        ),
        model=ModelRecord("whisper:Größe", "local", "sha256:0", "W", 10, "float32", False),
        method=MethodRecord(
            "raw-attention",
            "1",
            {"layer": 1, "head": 0, "x": 0.5, "flag": True, "t": "all"},
            "attention",
            "encoder",
            False,
            False,
            True,
        ),
        references=[
            ReferenceRecord(
                name="spes-encoder",
                version="1",
                params={"masks": 24, "p": 0.7},
                estimator="masked-mean",
                masks=[12, 12],
                neutral_value="zero vector",
                reliability=Interval(0.5, [0.4, 0.6], None, None),
                ceiling={"pearson": CEILING},
                converged=None,
                kept=0.8,
                forward_passes=25,
                seconds=0.1,
            )
        ],
        quality=QualityRecord("wer", 50.0, 1, 1, 50.0, None),
        scores=[
            ScoreRecord(
                metric="pearson",
                reference="spes-encoder",
                value=0.4,
                reason=None,
                ci=None,
                ci_reason="too-few-clusters",
                n=1,
                n_clusters=1,
                clusters_assumed=True,
                undefined={},
                floor=Interval(0.1, None, None, "too-few-clusters"),
                ceiling=CEILING,
                skill=NONE,
                disattenuated=NONE,
                direction="higher",
            )
        ],
        utterances={
            "id": ["a"],
            "cluster": ["a"],
            "hypothesis": ["word"],
            "truncated": [False],
            "tokens": [1],
            "frames": [50],
            "wer": [50.0],
            "map_hash": ["0"],
            "reliability@spes-encoder": [0.5],
            "masks@spes-encoder": [24],
            "row_reliability@spes-encoder": [[0.5]],
            "pearson@spes-encoder": [0.4],
            "floor:pearson@spes-encoder": [0.1],
            "ceiling:pearson@spes-encoder": [0.9],
        },
        failures=[Failure("b", "too-long", "3 s is longer than the 2 s window")],
        cost=Cost(1, 0, 0.01, None, 1000, "cpu"),
        provenance=Provenance(
            xbench="0.1.0",
            python="3.11",
            packages={"numpy": "2"},
            git=None,
            plugins=[
                {"kind": "model", "name": "whisper", "distribution": "xbench", "version": "0"}
            ],
            command=["xbench"],
            seed=0,
            spec_hash="0123456789abcdef",
            started="2026-01-01T00:00:00+00:00",
            finished="2026-01-01T00:00:01+00:00",
        ),
        padding_mass=0.3,
        sinks=SinksRecord(3, 0.4, [[0.5, 0.3]]),
    )


# -- schema and dataclasses say the same ----------------------------------------------------------


def follow(definition: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    reference = definition.get("$ref")
    if reference is None:
        return definition
    found: dict[str, Any] = root["$defs"][reference.removeprefix("#/$defs/")]
    return found


JSON_TYPES = {str: {"string"}, int: {"integer"}, float: {"number"}, bool: {"boolean"}}


def json_types(hint: Any) -> set[str] | None:
    """Return the JSON types a hint allows; None where the dataclass says Any."""
    origin = get_origin(hint)
    if hint is Any:
        return None
    if hint is type(None):
        return {"null"}
    if origin is Literal:
        return {"string"}
    if origin is list:
        return {"array"}
    if origin is dict or is_dataclass(hint):
        return {"object"}
    if origin in (Union, types.UnionType):
        found = [json_types(a) for a in get_args(hint)]
        assert None not in found
        return set().union(*(f or set() for f in found))
    return JSON_TYPES[hint]


def schema_types(definition: dict[str, Any]) -> set[str]:
    if "const" in definition or "enum" in definition:
        return {"string"}
    declared = definition["type"]
    return {declared} if isinstance(declared, str) else set(declared)


# Files written before these fields existed stay readable: the schema does not require them.
ADDED_LATER = {
    *("gates", "masks_per_utterance", "converged_share", "unreliable_rows", "computation"),
    *("metric_params", "tokens_left_out", "metric_version", "weighted", "audio_tokens", "pack"),
    *("sinks", "authorship", "format", "base"),
    *("weighted_floor", "weighted_ceiling", "weighted_skill", "weighted_disattenuated", "rivals"),
}


def differences(
    hint: Any, definition: dict[str, Any], root: dict[str, Any], at: str
) -> Iterator[str]:
    definition = follow(definition, root)
    expected = json_types(hint)
    if expected is not None and expected != schema_types(definition):
        yield f"{at}: dataclass {sorted(expected)}, schema {sorted(schema_types(definition))}"
    if get_origin(hint) is Literal and set(get_args(hint)) != set(definition.get("enum", ())):
        yield f"{at}: dataclass {get_args(hint)}, schema {definition.get('enum')}"
    arguments = [a for a in (get_args(hint) or (hint,)) if a is not type(None)]
    if get_origin(hint) is list:
        if "items" in definition:
            yield from differences(arguments[0], definition["items"], root, f"{at}[]")
    elif get_origin(hint) is dict:
        inner = definition.get("additionalProperties")
        if isinstance(inner, dict):
            yield from differences(arguments[1], inner, root, f"{at}.*")
    elif is_dataclass(hint):
        names = {field.name for field in fields(hint)}  # type: ignore[arg-type]
        later = {field.name for field in fields(hint)} & ADDED_LATER  # type: ignore[arg-type]
        for what, expected_names in (("properties", names), ("required", names - later)):
            if expected_names != set(definition[what]):
                differing = expected_names ^ set(definition[what])
                yield f"{at}: {what} and fields differ in {differing}"
                return
        if definition.get("additionalProperties") is not False:
            yield f"{at}: the schema takes unknown keys"
        for name, inner_hint in get_type_hints(hint).items():
            yield from differences(inner_hint, definition["properties"][name], root, f"{at}.{name}")


def test_every_field_of_the_schema_is_a_field_of_the_dataclasses() -> None:
    root = schema("result")
    assert list(differences(RunResult, root, root, "result")) == []


def test_the_comparison_of_schema_and_dataclasses_can_fail() -> None:
    root = schema("result")
    del root["properties"]["cost"]["properties"]["device"]
    root["properties"]["scores"]["items"]["properties"]["n"]["type"] = "number"
    root["$defs"]["ceiling"]["properties"]["lower"]["type"] = "number"
    root["properties"]["status"]["enum"].append("unknown")
    found = " ".join(differences(RunResult, root, root, "result"))
    for place in ("result.cost:", "scores[].n:", "ceiling.*.lower", "result.status"):
        assert place in found


# -- writing and reading --------------------------------------------------------------------------


def test_a_result_comes_back_equal(result: RunResult, tmp_path: Path) -> None:
    path = result.write(tmp_path)
    assert read_result(path) == result
    assert problems("result", json.loads(path.read_text("utf-8"))) == []
    assert "Größe" in path.read_text("utf-8")


def test_the_path_is_made_of_slugs(result: RunResult) -> None:
    path = result.path()
    assert path.as_posix() == (
        "asr/whisper-gr-e/raw-attention-layer-1-head-0-x-0.5-flag-true-t-all-01234567.json"
    )


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "/", "a\\b:c*", "." * 5, "é" * 300, ""])
def test_no_name_leaves_the_results_folder(result: RunResult, name: str, tmp_path: Path) -> None:
    hostile = replace(
        result, model=replace(result.model, name=name), task=replace(result.task, name=name)
    )
    path = hostile.write(tmp_path / "results")
    assert path.resolve().is_relative_to((tmp_path / "results").resolve())
    assert len(path.relative_to(tmp_path / "results").parts) == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_never_written(result: RunResult, bad: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(result, utterances={**result.utterances, "wer": [bad]}).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_breaks_the_schema_is_not_written(result: RunResult, tmp_path: Path) -> None:
    reference = replace(result.references[0], masks=[-1, 12])
    broken = replace(result, references=[reference])
    with pytest.raises(AssertionError, match="masks"):
        broken.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"cost": NaN}', "NaN is not allowed"),
        ('{"cost": -Infinity}', "-Infinity is not allowed"),
        ("[]", "expected a mapping"),
        ("{}", "missing key 'schema'"),
    ],
)
def test_files_that_are_no_results_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_result(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[" * 100000, b""])
def test_files_that_are_no_text_or_too_deep_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not valid JSON"):
        read_result(path)


def test_every_problem_of_a_result_is_told(result: RunResult, tmp_path: Path) -> None:
    data = json.loads(result.to_json())
    data["status"] = "complet"
    data["cost"]["forward_passes"] = -1
    del data["model"]["revision"]
    path = tmp_path / "result.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InvalidFile) as caught:
        read_result(path)
    assert len(caught.value.problems) == 3


def test_results_are_loaded_from_files_and_folders(result: RunResult, tmp_path: Path) -> None:
    first = result.write(tmp_path)
    other = replace(result, provenance=replace(result.provenance, spec_hash="f" * 64))
    other.write(tmp_path)
    assert load_results(tmp_path) == [result, other]
    assert load_results(first, tmp_path) == [result, result, other]
    with pytest.raises(UsageError, match="there is no such file or folder"):
        load_results(tmp_path / "nowhere")


def test_a_score_is_found_by_metric_and_reference(result: RunResult) -> None:
    assert result.score("pearson").value == 0.4
    assert result.score("pearson", "spes-encoder") is result.score("pearson")
    with pytest.raises(UsageError, match="it has pearson@spes-encoder"):
        result.score("pearson", "spes-input")


def test_missing_values_are_counted_by_reason() -> None:
    reasons = ["too-long", None, "empty-hypothesis", "too-long"]
    assert undefined_counts(reasons) == {"empty-hypothesis": 1, "too-long": 2}


def test_columns_are_named_after_metric_and_reference() -> None:
    assert column_name("pearson", "spes-input") == "pearson@spes-input"
    assert column_name("size", None) == "size"


def test_results_from_before_masks_followed_a_target_stay_readable(
    result: RunResult, tmp_path: Path
) -> None:
    data = json.loads(result.to_json())
    for reference in data["references"]:
        for name in ADDED_LATER & set(reference):
            del reference[name]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(data))
    (record,) = read_result(path).references
    assert (record.masks_per_utterance, record.unreliable_rows) == (None, None)


def test_results_from_before_gates_stay_readable(result: RunResult, tmp_path: Path) -> None:
    written = json.loads(result.to_json())
    del written["gates"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(written))
    assert read_result(path) == result


def test_sinks_are_averaged_over_utterances_by_hand() -> None:
    found = SinksRecord.over([[[0.5, 0.25], [1.0, 0.0]], [[0.25, 0.25], [0.5, 0.0]]], 3)
    assert found == SinksRecord(3, 0.3438, [[0.375, 0.25], [0.75, 0.0]])
    assert SinksRecord.over([], 3) is None
    assert SinksRecord.over([[[0.5, 0.25]], None], 3) is None
