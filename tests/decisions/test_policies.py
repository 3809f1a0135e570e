"""When streaming policies would write a token, and what they have not heard by then: by hand, and by a slow loop."""

from __future__ import annotations

import numpy as np
import pytest

from xbench.decisions.policies import (
    Policy,
    decision_times,
    delay,
    delay_at,
    regret,
    written,
    written_by,
)
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout
from xbench.metrics.batch import Maps

# Eight frames of 0.02 s; decisions after every second one: after 2, 4, 6 and 8 frames.
CHUNK = 0.04
FIRST = [0, 1, 0, 0, 0, 0, 0, 0]  # rests on frame 1
THIRD = [0, 0, 0, 0, 1, 0, 0, 0]  # on frame 4
LAST = [0, 0, 0, 0, 0, 0, 0, 1]  # on frame 7


def of(*rows: list[float] | np.ndarray) -> Maps:
    """Make one map of 20 ms frames from its rows."""
    values = np.array(rows, dtype=np.float64)
    count, frames = values.shape
    names = tuple(str(row) for row in range(count))
    axes = Layout(tuple(range(count)), names, tuple(range(count)), frames, 2 * frames, 2, 0.01)
    return Maps.of([GridMap(values)], axes)


def regrets(ours, theirs, **options) -> list[float]:
    when = written(of(*ours), Policy(**{"lag": 0.0, "chunk": CHUNK, **options}))
    return regret(of(*theirs), when)[0].tolist()


def steps(rows, name="alignatt", lag=0.0, share=0.2) -> list[int]:
    policy = Policy(name, lag=lag, chunk=CHUNK, share=share)
    assert decision_times(of(*rows), CHUNK).tolist() == [2, 4, 6, 8]
    return written(of(*rows), policy).heard[0].tolist()


def test_alignatt_writes_once_the_highest_heard_frame_lies_before_the_lag() -> None:
    # Without lag everything heard is old enough, even of a row whose peak is still to come.
    assert steps([FIRST, THIRD, LAST]) == [2, 2, 2]
    # Two frames of lag: frame 1 lies before 4 - 2; of zeros the first frame is the highest, which is sink enough.
    assert steps([FIRST, THIRD, LAST], lag=0.04) == [4, 4, 4]
    rising = [0, 1, 2, 3, 4, 5, 6, 7]
    assert steps([rising], lag=0.02) == [8]
    assert steps([FIRST], lag=1.0) == [8]


def test_a_token_that_is_not_ready_holds_back_all_after_it() -> None:
    rising = [0, 1, 2, 3, 4, 4, 4, 4]
    # Of `rising` the highest heard frames are 1, 3, 4, 4: with one frame of lag it is ready from 6 heard frames on.
    assert steps([FIRST, rising, FIRST], lag=0.02) == [4, 6, 6]


def test_a_token_is_looked_at_again_when_its_turn_has_come() -> None:
    # On its own the second token is ready after 2 frames, but no more after 6, when the first one lets it pass.
    late = [0, 1, 2, 3, 4, 4, 4, 4]
    turned = [1, 0, 0, 0, 0, 2, 0, 0]
    assert steps([turned], lag=0.02) == [2]
    assert steps([late, turned], lag=0.02) == [6, 8]


def test_edatt_asks_how_much_of_the_heard_mass_is_late() -> None:
    rows = [[4, 2, 0, 0, 1, 1, 0, 0]]
    # In the last frame lie 2/6 of 2 heard frames, none of 4, 1/8 of 6.
    assert steps(rows, "edatt", lag=0.02, share=0.2) == [4]
    assert steps(rows, "edatt", lag=0.02, share=0.4) == [2]
    # In the last two frames lie all of 2, none of 4.
    assert steps(rows, "edatt", lag=0.04, share=0.01) == [4]
    # A row without heard mass says nothing: wait.
    assert steps([LAST], "edatt", lag=0.02) == [8]


def test_doa_reads_frames_relative_to_other_tokens() -> None:
    # A sink at frame 0 is the highest of every row; relative to the other token each has its own peak.
    rows = [[9, 1, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 1, 0, 0]]
    assert steps(rows, lag=0.02) == [2, 2]
    assert steps(rows, "doa", lag=0.02)[0] == 4


def test_regret_and_delay_by_hand() -> None:
    # Written after 2 frames: the first has heard all it rests on, the second nothing.
    assert regrets([FIRST, FIRST], [FIRST, LAST]) == pytest.approx([0.0, 1.0])
    when = written(of(FIRST, FIRST), Policy(lag=0.0, chunk=CHUNK))
    # The centres of frames 1 and 7 are 0.03 and 0.15 s.
    assert delay(of(FIRST, LAST), when)[0] == pytest.approx([0.04 - 0.03, 0.04 - 0.15])
    # Above the row's minimum 4 + 2 of 10 are heard.
    assert regrets([FIRST], [[5, 3, 1, 1, 2, 2, 2, 2]]) == pytest.approx([0.4])
    # Whoever waits for the end has heard everything.
    assert regrets([FIRST, THIRD], [LAST, LAST], lag=9.0) == pytest.approx([0, 0])


def test_streamatt_also_regrets_what_it_has_forgotten() -> None:
    # With one token kept, audio before the highest frame of the token before is gone: the last token rests on frame 1.
    rows, truth = [FIRST, THIRD, THIRD], [FIRST, THIRD, FIRST]
    assert regrets(rows, truth, lag=0.06) == pytest.approx([0, 0, 0])
    assert regrets(rows, truth, lag=0.06, name="streamatt", kept=1) == pytest.approx([0, 0, 1])
    assert regrets(rows, truth, lag=0.06, name="streamatt", kept=2) == pytest.approx([0, 0, 0])


def test_delay_at_a_regret_by_hand() -> None:
    x, y = np.array([0.8, 0.4, 0.2, 0.0]), np.array([0.1, 0.5, 0.6, 2.0])
    assert delay_at(x, y, 0.4) == pytest.approx(0.5)
    assert delay_at(x, y, 0.3) == pytest.approx(0.55)
    assert delay_at(x, y, 0.1) == pytest.approx(1.3)
    assert delay_at(x, y, 0.9) == pytest.approx(0.1)
    assert delay_at(np.array([0.5, 0.3]), np.array([0.1, 2.0]), 0.2) is None
    # More lag may cost regret as well; a point with less regret and less delay is taken.
    assert delay_at(np.array([0.1, 0.4]), np.array([0.2, 0.5]), 0.3) == pytest.approx(0.2)


def slowly(row, heard: int, policy: str, lag: float, share: float) -> bool:
    """Say whether one token is ready, from its definition."""
    frames = round(lag / 0.02, 6)
    if policy == "edatt":
        mass = (row - row.min())[:heard]
        total = mass.sum()
        return bool(total > 0 and mass[max(heard - round(frames), 0) :].sum() / total < share)
    return int(np.argmax(row[:heard])) < heard - frames


@pytest.mark.parametrize("name", ["alignatt", "edatt", "doa"])
@pytest.mark.parametrize("lag", [0.0, 0.06, 0.3])
def test_emissions_agree_with_a_loop_over_tokens_and_times(name: str, lag: float) -> None:
    generator = np.random.default_rng(1)
    for sharpness in (0.2, 1.0, 5.0):
        rows = generator.gamma(sharpness, size=(6, 40))
        maps, policy = of(*rows), Policy(name, lag=lag, chunk=0.1, share=0.3)
        heard, found = decision_times(maps, 0.1), written(maps, policy).heard[0]
        if name == "doa":
            rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        at = 0
        for token, row in enumerate(rows):
            while at < len(heard) - 1 and not slowly(row, heard[at], name, lag, 0.3):
                at += 1
            assert found[token] == heard[at], token


def test_a_chunk_longer_than_the_clip_is_the_clip() -> None:
    assert decision_times(of(*np.eye(3, 8)), 60.0).tolist() == [8]
    assert decision_times(of(*np.eye(3, 8)), 0.001).tolist() == list(range(1, 9))


@pytest.mark.parametrize(
    "options",
    [{"name": "wait"}, {"lag": -0.1}, {"chunk": 0}, {"chunk": np.inf}, {"share": 1.1}, {"kept": 0}],
)
def test_what_is_no_policy_is_refused_in_a_sentence(options: dict) -> None:
    with pytest.raises(UsageError, match=r"no policy|policy: "):
        Policy(**options)


def test_at_time_zero_nothing_is_written_and_beyond_the_clip_all() -> None:
    maps = of(FIRST, [0, 1, 2, 3, 4, 4, 4, 4])
    when = written(maps, Policy(lag=0.02, chunk=CHUNK))
    assert when.heard.tolist() == [[4, 6]]

    def by(seconds: float) -> list[bool]:
        return written_by(maps, when, seconds)[0].tolist()

    assert by(0) == [False, False]
    assert by(0.079) == [False, False]
    assert by(0.08) == [True, False]
    assert by(0.12) == [True, True]
    assert by(99) == by(float("inf")) == [True, True]


@pytest.mark.parametrize("seconds", [-0.1, float("nan")])
def test_what_is_no_time_is_refused(seconds: float) -> None:
    maps = of(FIRST)
    with pytest.raises(UsageError, match="seconds from 0"):
        written_by(maps, written(maps, Policy()), seconds)
