"""The numbers of docs/meaning.md and docs/validity.md are those of the files that their commands write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

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


# -- docs/validity.md ------------------------------------------------------------------------------


def tables(heading: str) -> list[list[list[str]]]:
    """Return the tables below a heading: of each its rows as cells, the head first."""
    level = heading.partition(" ")[0]
    section = re.split(
        rf"^#{{2,{len(level)}}} ", VALIDITY.partition(f"{heading}\n")[2], flags=re.M
    )[0]
    blocks = re.findall(r"(?:^\|.*\n)+", section, re.M)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        for block in blocks
    ]


@pytest.mark.parametrize("heading", ["## Intervals", "### False differences"])
def test_simulated_figures_are_those_of_the_report(heading: str) -> None:
    report = (ROOT / "perf" / "intervals.md").read_text("utf-8").splitlines()
    rows = [row for table in tables(heading) for row in table[2:]]
    assert len(rows) >= 7
    for row in rows:
        assert f"| {' | '.join(row)} |" in report


def test_structural_limits_are_those_of_the_report() -> None:
    entries = json.loads((ROOT / "perf" / "ceilings.json").read_text("utf-8"))
    (table,) = tables("### The ceiling of `pearson-paper`")
    for utterance, masks, noisy, fitted, whole in table[2:]:
        name = utterance.replace("Whisper ", "whisper-").replace(", ", "-")
        number, reliability = re.findall(r"[\d.,]+", masks)
        (entry,) = (
            e
            for e in entries
            if e["utterance"] == f"{name}-spes-encoder"
            and round(e["masks"], -1) == int(number.replace(",", ""))
        )
        assert reliability == f"{entry['reliability'][0]:.2f}"
        assert noisy == f"{entry['structural of the mean'][0]:.3f}"
        assert fitted == f"{entry['structural'][0]:.3f}"
        assert whole == f"{entry['whole']:.3f}, {entry['whole, cross-fitted']:.3f}"


# How the page calls the columns of its tables of rivals.
CALLED = {
    "zeroed, p = 0.7": "spes-encoder:p=0.7",
    "zeroed, p = 0.5": "spes-encoder:p=0.5",
    "removed": "spes-encoder-removed:p=0.7",
    "words": "spes-encoder-words:p=0.7",
    "drop": "spes-encoder-drop:p=0.7",
    "contrast": "spes-encoder-contrast:p=0.7",
}
CALLED_INPUT = {
    "superpixels": "spes-input:p=0.5",
    "superpixels, p = 0.7": "spes-input:p=0.7",
    "words": "spes-input-words:p=0.5",
    "contrast": "spes-input-contrast:p=0.5",
}


@pytest.mark.parametrize(("place", "called"), [(0, CALLED), (1, CALLED_INPUT)])
def test_second_ceilings_are_those_of_the_audit(place: int, called: dict[str, str]) -> None:
    found = json.loads((ROOT / "leaderboard" / "rivals.json").read_text("utf-8"))[place]["rivals"]
    rivalries = {(r["judge"], r["rival"]): r for r in found}
    section = tables("### References of equal right: a second ceiling")
    (table,) = (t for t in section if set(called) <= set(t[0]))
    columns, judges = table[0][2:], table[2:]
    assert [called[name] for name in columns] == list(dict.fromkeys(called.values()))
    seen = 0
    for judge, (_, sampling, *cells) in zip(called.values(), judges, strict=True):
        for name, cell in zip(columns, cells, strict=True):
            if not cell:
                assert called[name] == judge
                continue
            rivalry, seen = rivalries[judge, called[name]], seen + 1
            assert sampling.split()[0] == f"{rivalry['sampling']['value']:.3f}"
            score, ceiling = (f"{rivalry[part]['value']:.3f}" for part in ("score", "ceiling"))
            assert cell.split(" [")[0] == f"{score}, {ceiling}"
            # The quotient is what the page says it is: the score over what noise leaves of the rival.
            own = next(r["sampling"]["value"] for r in found if r["judge"] == called[name])
            assert rivalry["score"]["value"] / own == pytest.approx(
                rivalry["ceiling"]["value"], rel=1e-9
            )
    assert seen == len(found)


@pytest.mark.slow
def test_what_is_recovered_of_planted_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import planted_truth

    _, references, methods = tables("### Evidence that is known by construction")
    head = ["", *planted_truth.CASES]
    assert references[0][1:] == methods[0][1:] == head[1:]
    case = planted_truth.planted_case()

    def cells(values: Any) -> list[str]:
        rows = zip(values, planted_truth.MODEL.frames, strict=True)
        return [planted_truth.cell(row, frames) for row, frames in rows]

    told = {name.strip("`"): row for name, *row in methods[2:]}
    assert {n: cells(v) for n, v in planted_truth.methods(case).items()} == told
    told = {name: row for names, *row in references[2:] for name in re.findall(r"`([^`]+)`", names)}
    for name, values in planted_truth.references(case).items():
        assert cells(values) == told[name.partition(",")[0]], name
