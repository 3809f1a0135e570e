"""YAML as plain data: what is refused, what scalars mean, and where things stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xbench.schemas import InvalidFile, Problem
from xbench.tasks.strict_yaml import Document, merge, read_yaml


def read(tmp_path: Path, text: str | bytes) -> Document:
    path = tmp_path / "f.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def refused(tmp_path: Path, text: str | bytes) -> list[str]:
    with pytest.raises(InvalidFile) as caught:
        read(tmp_path, text)
    return [p.removeprefix(f"{tmp_path}/") for p in caught.value.problems]


def scalar(tmp_path: Path, text: str) -> object:
    return read(tmp_path, f"key: {text}\n").value["key"]


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "on", "off", "No", "NO", "y", "n", "2026-01-01", "1:30", "=", "0o17", "1_000"],
)
def test_what_older_yaml_would_convert_stays_a_text(tmp_path: Path, text: str) -> None:
    assert scalar(tmp_path, text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("7", 7),
        ("-3", -3),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e-6", 1e-6),
        ('"7"', "7"),
        ("'true'", "true"),
        ('""', ""),
        ("400+500+600", "400+500+600"),
        ("[no, 1]", ["no", 1]),
        ("{a: true}", {"a": True}),
    ],
)
def test_core_schema_scalars(tmp_path: Path, text: str, value: object) -> None:
    found = scalar(tmp_path, text)
    assert found == value
    assert type(found) is type(value)


def test_duplicate_keys_name_both_lines(tmp_path: Path) -> None:
    assert refused(tmp_path, "a: 1\nb:\n  c: 1\n  d: 1\n  c: 2\na: 3\n") == [
        "f.yaml:5: key 'c' is given twice (first on line 3)",
        "f.yaml:6: key 'a' is given twice (first on line 1)",
    ]


def test_anchors_aliases_and_tags_are_refused_with_their_lines(tmp_path: Path) -> None:
    text = "a: &x 1\nb: *x\nc: !!python/object/apply:os.system [ls]\nd: !!str 1\n"
    found = refused(tmp_path, text)
    assert [f.partition(" is not allowed")[0] for f in found] == [
        "f.yaml:1: anchor '&x'",
        "f.yaml:2: alias '*x'",
        "f.yaml:3: tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        "f.yaml:4: tag 'tag:yaml.org,2002:str'",
    ]


def test_an_alias_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert refused(tmp_path, "\n".join(["l0: &l0 x", *levels]))


@pytest.mark.parametrize("key", ["1", "true", "null", "0.5", "[a]", "{a: 1}"])
def test_keys_are_texts(tmp_path: Path, key: str) -> None:
    (problem,) = refused(tmp_path, f"x: 1\n? {key}\n: 2\n")
    assert problem.startswith("f.yaml:2: ")
    assert "is not a text and cannot be a key" in problem


def test_a_quoted_number_is_a_key(tmp_path: Path) -> None:
    assert read(tmp_path, '"1": a\nno: b\n').value == {"1": "a", "no": "b"}


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan"])
def test_numbers_are_finite(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, f"a:\n- {text}\n") == [f"f.yaml:2: '{text}' is not a finite number"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "f.yaml:1: expected a mapping of keys to values"),
        ("- a\n", "f.yaml:1: expected a mapping of keys to values"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: a second document ('---') is not allowed"),
        ("a: [1\n", "f.yaml:2: not YAML: "),
        ("a: 1\n\tb: 2\n", "f.yaml:2: not YAML: "),
        ("a: 1\nb: \x07\n", "f.yaml:2: not YAML: the character 0x7 is not allowed"),
        (b"a: 1\nb: \xff\n", "f.yaml:2: not UTF-8"),
        ("a: " + "[" * 500 + "]" * 500, "f.yaml:1: nested deeper than 20 levels"),
        ("a: " + "x" * 1_000_000, "larger than 1000000 bytes"),
    ],
)
def test_unusable_files(tmp_path: Path, text: str | bytes, reason: str) -> None:
    assert refused(tmp_path, text)[0].startswith(reason)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InvalidFile, match="cannot be read"):
            read_yaml(path)


def test_a_bom_is_tolerated(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffa: 1\n").value == {"a": 1}


def test_a_problem_is_located_at_the_innermost_known_place(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb:\n  c:\n  - x\n  - y\n")
    where = {
        (): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 1): 5,
        ("b", "c", 7): 3,
        ("b", "missing", "x"): 2,
        ("z",): 1,
    }
    for path, line in where.items():
        assert document.locate(Problem(path, "bad")).startswith(f"{tmp_path}/f.yaml:{line}: ")


def test_merging_keeps_the_place_of_every_key(tmp_path: Path) -> None:
    base, local = tmp_path / "base.yaml", tmp_path / "local.yaml"
    base.write_text("a: {x: 1, y: 2}\nl: [1, 2]\nkept: 1\n")
    local.write_text("l: [3]\na:\n  y: 5\n")
    merged = merge(read_yaml(base), read_yaml(local))
    assert merged.value == {"a": {"x": 1, "y": 5}, "l": [3], "kept": 1}
    assert str(merged.places[("a", "x")]) == f"{base}:1"
    assert str(merged.places[("a", "y")]) == f"{local}:3"
    assert str(merged.places[("kept",)]) == f"{base}:3"


def test_half_of_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, r'a: "\ud800\udc00"') == [
        "f.yaml:1: a text holds half of a surrogate pair"
    ]


# JSON writes U+007F as it is, and characters beyond U+FFFF as surrogate pairs.
_TEXT = st.text(
    st.characters(max_codepoint=0xFFFF, exclude_characters="\x7f", exclude_categories=["Cs"]),
    max_size=8,
)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_TEXT, _PLAIN, max_size=4))
def test_json_is_yaml(tmp_path: Path, value: dict) -> None:
    assert read(tmp_path, json.dumps(value)).value == value


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@`? \n\t,1.~", max_size=30))
def test_any_text_is_read_or_refused_in_words(tmp_path: Path, text: str) -> None:
    try:
        document = read(tmp_path, text)
    except InvalidFile:
        return
    assert isinstance(yaml.compose(text, Loader=yaml.SafeLoader), yaml.MappingNode)
    assert json.dumps(document.value)
