"""Files and texts of strangers: only plain files, of a bounded size, and JSON that all read alike."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xbench.errors import UsageError
from xbench.inputs import (
    bounded,
    files_below,
    json_integer,
    json_number,
    markdown_cell,
    parse_json,
    read_json,
    read_plain,
    visible,
)


def test_a_plain_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_plain(path, 5) == b"12345"
    with pytest.raises(UsageError, match="5e-06 MB are more than the 4e-06 MB allowed"):
        read_plain(path, 4)


def test_what_is_no_plain_file_is_told_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, told in (
        (tmp_path / "pipe", "it is a named pipe, not a plain file"),
        (Path("/dev/zero"), "it is a device, not a plain file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "a\0b", r"this is no file name \(embedded null byte\)"),
        (tmp_path / "none", "there is no such file"),
    ):
        with pytest.raises(UsageError, match=told) as caught:
            read_plain(path, 100)
        assert "\n" not in str(caught.value)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    # Files of /proc say that they are empty.
    with pytest.raises(OSError, match="more than"):
        bounded(Path("/proc/self/status"), 10)


NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,330})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)


@given(number=NUMBERS, before=st.sampled_from(["", "[1.5,", '{"sha256:0e4441": ', "[\n-0.25e3, "]))
def test_a_number_is_looked_at_wherever_it_could_be_too_large(number: str, before: str) -> None:
    end = {"": "", "[": "]", "{": "}"}[before[:1]]
    content = f"{before}{number}{end}".encode()
    try:
        expected: Any = json.loads(content, parse_int=json_integer, parse_float=json_number)
    except ValueError as problem:
        with pytest.raises(ValueError, match=re.escape(str(problem))):
            parse_json(content)
    else:
        assert parse_json(content) == expected


def test_hashes_do_not_have_each_number_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(text: str) -> float:
        raise AssertionError(f"{text} was looked at")

    monkeypatch.setattr("xbench.inputs.json_number", unexpected)
    assert parse_json(b'{"sha256": "a1e4441e5552e666", "value": 0.25}')["value"] == 0.25


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1, "a": 1}', "the key 'a' stands twice"),
        ('{"a": NaN}', "NaN is not allowed"),
        ('{"a": 1e999}', "the number 1e999 is not finite"),
        (
            '{"a": 1' + "0" * 400 + "}",
            r"the number 100000000000\.\.\. \(401 characters\) is beyond",
        ),
        ('{"a": 9223372036854775808}', "beyond 64 bits"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"\\ud800": 1}', "half of a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
        ("", "Expecting value"),
    ],
)
def test_json_that_parsers_disagree_about_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=told) as caught:
        read_json(path, 1_000_000)
    assert str(caught.value).startswith(f"{path}: not valid JSON: ")


def test_sound_json_is_read() -> None:
    text = '\ufeff{"a": [1, -2.5, true, null, "\\ud83d\\ude00"], "b": 9223372036854775807}'
    assert parse_json(text.encode()) == {"a": [1, -2.5, True, None, "😀"], "b": 2**63 - 1}
    with pytest.raises(ValueError, match=r"not UTF-8 \(byte 2\)"):
        parse_json(b'"\xff"')


def test_files_below_a_folder_are_found_without_following_links_to_folders(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.json", "a.json", "c.txt", "in/d.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "in" / "again").symlink_to(tmp_path)
    found = files_below(tmp_path, ".json")
    assert [p.relative_to(tmp_path).as_posix() for p in found] == ["a.json", "b.json", "in/d.json"]
    assert files_below(tmp_path / "none", ".json") == [tmp_path / "none"]


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match="cannot be listed: Permission denied"):
        files_below(tmp_path, ".json")


def test_text_never_commands_what_shows_it() -> None:
    assert visible("\x1b[31mred\x07\x9b\u202e") == "\\u001b[31mred\\u0007\\u009b\\u202e"
    assert visible("two\nlines", keep="\n") == "two\nlines"
    assert visible("größe 日本 é") == "größe 日本 é"
    assert markdown_cell("a|b\\|c\n<img>[x](y) [0.1, 0.2]") == (
        "a\\|b\\\\\\|c\\\\u000a\\<img>[x]\\(y) [0.1, 0.2]"
    )


def test_tests_reach_no_network(no_network: list[str]) -> None:
    with pytest.raises(PermissionError, match="no network beyond this machine"):
        socket.getaddrinfo("example.org", 80)
    with socket.socket() as one, pytest.raises(PermissionError, match="no network"):
        one.connect(("192.0.2.1", 80))
    assert no_network == ["example.org", "192.0.2.1"]
    no_network.clear()  # or this test would fail, as every other that tries
