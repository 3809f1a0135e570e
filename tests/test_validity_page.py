"""Every measured number of docs/meaning.md stands in the table of docs/validity.md that says where it is from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEANING = (ROOT / "docs" / "meaning.md").read_text("utf-8")
VALIDITY = (ROOT / "docs" / "validity.md").read_text("utf-8")
HEADING = "## Where the figures of meaning.md are from"

# What is defined and not measured: levels, bounds, exact values, p itself, years, and examples of a number.
DEFINED = re.compile(
    r"arXiv \d{4}\.\d{5}|\b(?:19|20)\d\d\b|p = \d\.\d|95 %|5 %|instead of 0\.95|[Bb]elow 5|40 clusters|"
    r"up to 20|8 to 30|reliability near 0\.9|(?:1,200|6,000) masks|at 6,000|\"frame 30\"|heard at 0\.6 s|at least 5 %"
)
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+|(?<![\w.])\d+ %")


def numbers(text: str) -> set[str]:
    """Return the measured numbers of a text."""
    plain = re.sub(r"\]\([^)]*\)|`[^`]*`", "]", " ".join(text.split()))
    return set(NUMBER.findall(DEFINED.sub(" ", plain)))


def figures() -> list[tuple[str, str]]:
    """Return the table: the figure as it is stated, and where it is from."""
    section = VALIDITY.partition(HEADING)[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(row[0].strip(), row[1].strip()) for row in rows[1:]]


def test_every_measured_number_of_meaning_is_in_the_table() -> None:
    told = {number for figure, _ in figures() for number in NUMBER.findall(figure)}
    assert numbers(MEANING) - told == set()


def test_the_table_holds_no_number_that_meaning_does_not_state() -> None:
    told = {number for figure, _ in figures() for number in NUMBER.findall(figure)}
    assert told - numbers(MEANING) == set()


@pytest.mark.parametrize("source", [source for _, source in figures()])
def test_each_source_is_a_command_a_test_or_a_paper(source: str) -> None:
    named = re.findall(r"`([^`]+)`", source)
    files = [word for text in named for word in text.split() if word.endswith(".py")]
    assert files or any(text.startswith("xbench ") for text in named) or "arXiv" in source
    for file in files:
        assert (ROOT / file).is_file(), file
    for test in re.findall(r"`tests/(\S+)::(\w+)`", source):
        assert f"def {test[1]}(" in (ROOT / "tests" / test[0]).read_text("utf-8")


def test_a_new_number_would_be_seen() -> None:
    assert numbers("It was 0.12 on `0.5` clips, [0.7](a.md#0.3) of p = 0.3, in 17 % of 2021.") == {
        *("0.12", "0.7", "17 %"),
    }
