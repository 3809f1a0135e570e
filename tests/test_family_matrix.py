"""docs/families.md is made by scripts/family_matrix.py; it must name what is registered now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "families.md"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location(
        "family_matrix", ROOT / "scripts" / "family_matrix.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(start: str) -> list[list[str]]:
    lines = PAGE.read_text("utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(start))
    table = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return [table[0], *table[2:]]


def test_the_matrix_has_every_family_and_every_method(script: Any) -> None:
    header, *body = rows("| method |")
    assert header == ["method", *script.families()]
    assert [row[0] for row in body] == [d.name for d in script.methods()]
    assert all(len(row) == len(header) for row in body)


def test_every_cell_says_what_was_found(script: Any) -> None:
    header, *body = rows("| method |")
    notes = [line for line in PAGE.read_text("utf-8").splitlines() if line[:1].isdigit()]
    for row in body:
        for family, cell in zip(header[1:], row[1:], strict=True):
            if family in script.UNTESTED:
                assert cell == "untested"
            elif cell.startswith("–"):
                assert 1 <= int(cell.removeprefix("– ")) <= len(notes)
            else:
                assert set(cell) <= set(script.LETTERS.values())
                assert cell


def test_every_reference_has_its_letter(script: Any) -> None:
    from xbench import registry

    assert {*script.LETTERS, *script.SAME_AS} == set(registry.references.names())
    assert set(script.SAME_AS.values()) <= set(script.LETTERS)


def test_families_are_described(script: Any) -> None:
    _, *body = rows("| family |")
    assert [row[0] for row in body] == script.families()


def test_mean_heads_is_supported_by_every_family_that_could_be_run(script: Any) -> None:
    header, *body = rows("| method |")
    row = next(row for row in body if row[0] == "mean-heads")
    for family, cell in zip(header[1:], row[1:], strict=True):
        assert family in script.UNTESTED or "E" in cell


def test_every_checkpoint_is_listed_and_what_nobody_could_run_is_untested(script: Any) -> None:
    from xbench import registry

    _, *body = rows("| name |")
    status = {row[0]: row[4] for row in body}
    known = [c for name in script.families() for c in registry.models.get(name).checkpoints]
    assert list(status) == [c.name for c in known]
    for checkpoint in known:
        assert status[checkpoint.name].startswith(checkpoint.status)
        assert (status[checkpoint.name] == "untested") == (not checkpoint.tested)
        assert checkpoint.tested or checkpoint.packaged is None
