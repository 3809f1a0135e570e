"""Results of every past schema stay readable: `tests/past` keeps one file of each, as it was written then.

Who changes `xbench.result/1` so that old files no longer fit raises the number, keeps a file of the old number here,
and writes the reading that makes a present result of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from xbench.cli.validation import check_file
from xbench.results import SCHEMA, read_result
from xbench.schemas import schema
from xbench.site.load import read_results

FILES = sorted((Path(__file__).parent / "past").glob("result-*.json"))


def number(schema: str) -> int:
    return int(schema.rpartition("/")[2])


def test_every_schema_that_ever_was_has_a_file() -> None:
    kept = {json.loads(file.read_text())["schema"] for file in FILES}
    assert kept == {f"xbench.result/{n}" for n in range(1, number(SCHEMA) + 1)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_past_result_is_read_as_a_present_one(file: Path) -> None:
    written = json.loads(file.read_text())
    result = read_result(file)
    assert result.schema == SCHEMA
    assert result.method.name == written["method"]["name"]
    assert result.utterances["id"] == written["utterances"]["id"]
    for score, then in zip(result.scores, written["scores"], strict=True):
        assert (score.metric, score.reference) == (then["metric"], then["reference"])
        assert (score.value, score.ci) == (then["value"], then["ci"])
    # What is written of it now says the same, and is read again.
    again = json.loads(result.to_json())
    for key in ("task", "model", "utterances"):
        assert {k: again[key][k] for k in written[key] if k in again[key]} == {
            k: v for k, v in written[key].items() if k in again[key]
        }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_past_result_is_valid_and_shown_on_the_site(file: Path, tmp_path: Path) -> None:
    assert check_file(file).problems == ()
    shutil.copy(file, tmp_path / file.name)
    accepted, refused = read_results([tmp_path])
    assert (len(accepted), refused) == (1, ())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_past_result_may_lack_what_came_later(file: Path, tmp_path: Path) -> None:
    whole = json.loads(file.read_text())
    required = schema("result")["required"]
    older = tmp_path / file.name
    older.write_text(json.dumps({key: whole[key] for key in whole if key in required}))
    assert read_result(older).scores == read_result(file).scores
