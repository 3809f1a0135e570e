"""Streaming policies over a whole run, through the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command_line import Run
from small_run import Made, made_in
from xbench.audit.stored_maps import explained, one_run, references_of
from xbench.decisions.policies import Policy, regret, written
from xbench.decisions.streaming import LAGS, _advise, streaming
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout
from xbench.metrics.batch import Maps


@pytest.fixture(scope="module")
def made(tiny_whisper_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_in(tmp_path_factory.mktemp("streaming"), f"whisper:{tiny_whisper_folder}")


@pytest.mark.parametrize("name", ["alignatt", "edatt", "streamatt", "doa"])
def test_every_map_and_the_reference_advise(made: Made, name: str) -> None:
    found = streaming(made.given, Policy(name, chunk=0.1), accepted=0.1, store=made.store)
    assert [row.kind for row in found.rows].count("reference") == 1
    assert len(found.rows) == 3
    for row in found.rows:
        assert row.regret.n == 6
        assert 0 <= row.regret.value <= 1
        curve = row.curve
        assert [lag for lag, *_ in curve] == [*LAGS[:-1], None]
        # Whoever waits for the end has heard everything, and is latest.
        if name != "streamatt":
            assert curve[-1][1] == pytest.approx(0, abs=1e-9)
        assert curve[-1][2] == max(late for _, _, late in curve)
    areas = [row.area.value for row in found.rows]
    assert areas == sorted(areas)


def test_more_regret_is_less_delay(made: Made) -> None:
    strict, loose = (
        streaming(made.given, Policy(chunk=0.1), accepted=accepted, store=made.store).rows
        for accepted in (0.0, 0.9)
    )
    loose_by_name = {row.name: row.delay_at.value for row in loose}
    assert all(row.delay_at.value >= loose_by_name[row.name] for row in strict)


def test_one_half_of_the_reference_advises_and_the_other_judges(made: Made) -> None:
    stored, policy = one_run(made.given, made.store), Policy(chunk=0.1)
    clips = []
    for spoken in explained(stored):
        truth = next(r for r in references_of(stored, spoken) if r.call.name == "spes-encoder")
        assert truth.halves is not None
        first, second = (Maps.of([half], spoken.decoded.layout) for half in truth.halves)
        clips.append(regret(second, written(first, policy))[0][~second.constant[0]].mean())
    found = streaming(made.given, policy, accepted=0.1, store=made.store)
    (row,) = (row for row in found.rows if row.kind == "reference")
    assert row.regret.value == pytest.approx(np.mean(clips))


def test_what_is_forgotten_may_leave_no_lag_that_meets_a_regret(made: Made) -> None:
    found = streaming(
        made.given, Policy("streamatt", chunk=0.1, kept=1), accepted=0.0, store=made.store
    )
    by_name = {row.name.partition(":")[0]: row for row in found.rows}
    # A diagonal moves on, so audio before the token before is forgotten, and some relevance lies there.
    assert by_name["diagonal"].delay_at.value is None
    assert by_name["diagonal"].delay_at.reason == "no-defined-value"
    assert by_name["diagonal"].regret.value > 0


def test_the_command(run: Run, made: Made) -> None:
    call = ("decisions", "streaming", str(made.results), "--cache", str(made.cache))
    report = json.loads(run(*call, "--json", "--chunk", "0.1").out)
    assert report["policy"]["chunk"] == 0.1
    names = {row["name"].partition(":")[0] for row in report["rows"]}
    assert names == {"mean-heads", "diagonal", "spes-encoder"}
    shown = " ".join(run(*call, "--policy", "edatt").out.split())
    assert "edatt, lag 0.3 s" in shown
    assert "(reference)" in shown
    refused = run(*call, "--policy", "alignat")
    assert "did you mean 'alignatt'" in refused.err
    assert "a share from 0 to 1" in run(*call, "--regret", "2").err


def test_results_of_several_runs_are_refused(made: Made, tmp_path: Path) -> None:
    made.evaluate(tmp_path, "spes-encoder:p=0.5")
    from xbench.results import load_results

    both = [*made.given, *load_results(tmp_path)]
    with pytest.raises(UsageError, match="come from 2 runs"):
        streaming(both, Policy(), accepted=0.1, store=made.store)


def test_tokens_whose_reference_says_nothing_are_left_out() -> None:
    axes = Layout((0, 1), ("0", "1"), (0, 1), 8, 16, 2, 0.01)
    peak = [0.0, 1, 0, 0, 0, 0, 0, 0]
    maps = Maps.of([GridMap(np.array([peak, peak]))], axes)
    judged = _advise(
        maps, Maps.of([GridMap(np.array([peak, [3.0] * 8]))], axes), Policy(chunk=0.04)
    )
    assert judged is not None
    # Both are written after 8 frames of 20 ms, since the lag of 0.3 s is longer than the clip; 1.5 frames is the peak.
    assert (judged[0].regret, judged[0].delay) == pytest.approx((0.0, 0.02 * (8 - 1.5)))
    assert _advise(maps, Maps.of([GridMap(np.ones((2, 8)))], axes), Policy()) is None


def test_by_a_time_only_what_is_written_then_is_judged() -> None:
    axes = Layout((0, 1), ("0", "1"), (0, 1), 8, 16, 2, 0.01)
    early, late = [1.0, 0, 0, 0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0, 0, 0, 1]
    maps = Maps.of([GridMap(np.array([early, early]))], axes)
    truth = Maps.of([GridMap(np.array([early, late]))], axes)
    policy = Policy(lag=0.02, chunk=0.04)

    def at(by: float | None) -> tuple[float, float | None]:
        found = _advise(maps, truth, policy, by)
        assert found is not None
        return found[0].written, found[0].regret_by

    # Both are written after 2 of 8 frames; all that the second depends on comes later.
    assert at(0.0) == (0.0, None)
    assert at(0.04) == at(0.16) == at(9.0) == (1.0, 0.5)


def test_the_command_says_what_is_written_by_a_time(run: Run, made: Made) -> None:
    call = ("decisions", "streaming", str(made.results), "--cache", str(made.cache))
    report = json.loads(run(*call, "--json", "--by", "0").out)
    for row in report["rows"]:
        assert row["written"]["value"] == 0
        assert (row["regret_by"]["value"], row["regret_by"]["reason"]) == (None, "no-defined-value")
    report = json.loads(run(*call, "--json", "--by", "60").out)
    for row in report["rows"]:
        assert row["written"]["value"] == 1
        assert row["regret_by"]["value"] == pytest.approx(row["regret"]["value"])
    assert "written by" in " ".join(run(*call, "--by", "0.5").out.split())
    refused = run(*call, "--by", "-1")
    assert (refused.code, "a time is seconds from 0" in refused.err) == (2, True)
