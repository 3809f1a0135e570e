"""The packaged schemas and how their findings are worded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import resources
from typing import Any, get_args, get_type_hints

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xbench import schemas, spec
from xbench.authorship import LINK
from xbench.schemas.quick import accepts

NAMES = [
    f.name.removesuffix(".schema.json")
    for f in resources.files("xbench.schemas").iterdir()
    if f.name.endswith(".schema.json")
]
LINE = {"id": "a", "audio": "a.wav", "language": "en", "transcript": "hello"}
SUITE = {"schema": "xbench.suite/1", "name": "s", "version": 1, "title": "S", "tasks": ["t"]}


@pytest.mark.parametrize("name", NAMES)
def test_every_packaged_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schemas.schema(name))


def test_the_schemas_of_tasks_suites_and_manifests_are_packaged() -> None:
    assert {"task", "suite", "manifest"} <= set(NAMES)


@pytest.mark.parametrize(
    ("section", "mirrored"),
    [("scoring", spec.Scoring), ("decoding", spec.Decoding), ("headline", spec.Headline)],
)
def test_task_sections_mirror_their_dataclasses(section: str, mirrored: type) -> None:
    definition = schemas.schema("task")["$defs"][section]
    assert set(definition["properties"]) == {f.name for f in fields(mirrored)}


@pytest.mark.parametrize(
    ("section", "mirrored"), [("dataset", spec.Dataset), ("quality", spec.Quality)]
)
def test_task_objects_mirror_their_dataclasses(section: str, mirrored: type) -> None:
    definition = schemas.schema("task")["properties"][section]
    assert set(definition["properties"]) == {f.name for f in fields(mirrored)}


def test_scoring_choices_are_those_of_the_dataclass() -> None:
    hints = get_type_hints(spec.Scoring)
    properties = schemas.schema("task")["$defs"]["scoring"]["properties"]
    listed = {name: tuple(p["enum"]) for name, p in properties.items() if "enum" in p}
    assert listed == {name: get_args(hints[name]) for name in listed}
    assert set(hints) - set(listed) == {"min_max"}


def test_a_changed_copy_of_a_schema_changes_nothing() -> None:
    schemas.schema("suite")["required"].clear()
    assert schemas.schema("suite")["required"]


def test_valid_values_have_no_problems() -> None:
    assert schemas.problems("manifest", LINE) == []
    assert schemas.problems("suite", SUITE) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tittle": "x"}, "tittle: unknown key 'tittle', did you mean 'title'?"),
        ({"zzz": 1}, "zzz: unknown key 'zzz'; known: schema, name, version, title, tasks"),
        ({"version": "1"}, "version: expected a whole number, found the text '1'"),
        ({"version": True}, "version: expected a whole number, found true"),
        ({"version": 1.0}, "version: expected a whole number, found the number 1.0"),
        ({"version": 0}, "version: must be at least 1, found the number 0"),
        ({"title": None}, "title: expected a text, found null"),
        ({"title": ""}, "title: must not be empty"),
        ({"tasks": {}}, "tasks: expected a list, found a mapping"),
        ({"tasks": ["a", ["b"]]}, "tasks[1]: expected a text, found a list"),
        ({"tasks": ["a", "b", "a"]}, "tasks: holds the text 'a' twice"),
        ({"tasks": []}, "tasks: must not be empty"),
        (
            {"schema": "xbench.suite/2"},
            "schema: expected 'xbench.suite/1', found the text 'xbench.suite/2'",
        ),
        ({"name": "A b"}, "name: 'A b' is not a name of lower-case letters, digits, '.' and '-'"),
    ],
)
def test_a_problem_names_key_expectation_and_finding(change: dict, expected: str) -> None:
    assert schemas.problems("suite", {**SUITE, **change}) == [expected]


def test_all_problems_are_told() -> None:
    found = schemas.problems("suite", {"schema": "xbench.suite/1", "version": "x", "extra": 1})
    assert len(found) == 5
    assert {"missing key 'name'", "missing key 'title'", "missing key 'tasks'"} < set(found)


def test_a_choice_offers_the_nearest() -> None:
    (found,) = schemas.find_problems("task", {"scoring": {"window": "center"}}, partial=True)
    assert str(found) == (
        "scoring.window: expected one of block, centred, found the text 'center', "
        "did you mean 'centred'?"
    )


def test_partial_allows_missing_keys_but_no_wrong_ones() -> None:
    assert schemas.find_problems("task", {}, partial=True) == ()
    (problem,) = schemas.find_problems("task", {"decoding": {"beam": 1}}, partial=True)
    assert problem.path == ("decoding", "beam")


@pytest.mark.parametrize("value", [3, "x", None, [LINE]])
def test_a_line_that_is_no_object(value: object) -> None:
    (problem,) = schemas.problems("manifest", value)
    assert problem.startswith("expected a mapping, found ")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_is_finite(number: float) -> None:
    words = [{"word": "a", "start": 0.0, "end": number}]
    (problem,) = schemas.problems("manifest", {**LINE, "words": words})
    assert problem.startswith("words[0].end: expected a number")


@pytest.mark.parametrize("bad", ["", " a", "a ", "a,b", "a\nb", "\x00"])
def test_ids_that_cannot_be_typed_are_refused(bad: str) -> None:
    (problem,) = schemas.problems("manifest", {**LINE, "id": bad})
    assert problem.startswith("id: ")


@pytest.mark.parametrize("good", ["a", "clip 1", "日本", "a/b", "x.y-z_0"])
def test_ids_that_are_allowed(good: str) -> None:
    assert schemas.problems("manifest", {**LINE, "id": good}) == []


def described(
    rule: Mapping[str, Any], root: Mapping[str, Any], place: str = ""
) -> Iterator[tuple[str, str | None]]:
    """Yield every field of a schema with its description, in references to definitions too."""
    for name, stated in rule.get("properties", {}).items():
        defined = root["$defs"][stated["$ref"].rpartition("/")[2]] if "$ref" in stated else {}
        field = {**defined, **stated}
        yield f"{place}{name}", field.get("description")
        yield from described(field, root, f"{place}{name}.")
        yield from described(field.get("items", {}), root, f"{place}{name}[].")


def test_every_field_of_a_result_has_a_sentence() -> None:
    root = schemas.schema("result")
    found = dict(described(root, root))
    assert len(found) > 100
    assert found["scores[].ceiling.structural"]
    assert [place for place, said in found.items() if not said] == []


def test_a_link_in_a_result_leads_to_the_web() -> None:
    link = schemas.schema("result")["properties"]["method"]["properties"]["authorship"]
    pattern = link["properties"]["code"]["pattern"]
    assert pattern == LINK
    assert re.match(pattern, "https://example.org/a/b?c=d#e")
    for bad in (
        "javascript:alert(1)",
        "http://example.org",
        "https://a b",
        'https://a"b',
        "https://",
    ):
        assert not re.match(pattern, bad)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(_JSON, st.sampled_from(["task", "suite", "manifest"]))
def test_any_value_is_judged_as_the_schema_judges_it(value: object, name: str) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return
    standard = jsonschema.Draft202012Validator(schemas.schema(name)).is_valid(value)
    assert standard or schemas.problems(name, value)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*LINE, "cluster", "words", "translation_en"]), _JSON))
def test_every_problem_of_a_line_is_one_readable_text(change: dict) -> None:
    for problem in schemas.problems("manifest", {**LINE, **change}):
        assert problem.split(":")[0].split("[")[0].split(".")[0] in change


def test_an_invalid_file_counts_and_lists_its_problems() -> None:
    assert str(schemas.InvalidFile("f", ["one"])) == "f: 1 problem\n  one"
    error = schemas.InvalidFile("f", [f"p{i}" for i in range(60)])
    lines = str(error).splitlines()
    assert lines[0] == "f: 60 problems"
    assert lines[-1] == "  and 40 more"
    assert len(error.problems) == 60
    assert error.exit_code == 2


_CELLS = [None, 1, 1.5, "", "x", "a,b", " a", True, -1, [], {}]
_WORDS = [[{"word": "a", "start": s, "end": 2}] for s in (-1, 0, "0")] + [[{"word": "a"}]]


@given(
    st.sampled_from([*LINE, "cluster", "sha256", "words", "translation_en", "translation_", "new"]),
    st.sampled_from([*_CELLS, *_WORDS]),
    st.booleans(),
)
def test_the_quick_check_of_manifest_lines_says_what_the_schema_says(
    key: str, value: Any, leave_out: bool
) -> None:
    line = {**LINE, "words": _WORDS[1], "translation_de": "hallo", key: value}
    if leave_out:
        del line[key]
    assert accepts("manifest")(line) == (not schemas.problems("manifest", line))


def test_the_quick_check_understands_the_schema_of_manifests() -> None:
    assert accepts("manifest")({**LINE, "words": _WORDS[1], "translation_de": "hallo"})
