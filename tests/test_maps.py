from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xbench.errors import UsageError
from xbench.maps import Layout, expand, on_encoder_grid, pool, standardise
from xbench.spec import Scoring


def layout(*, rows: int = 1, frames: int, melframes: int, stride: int) -> Layout:
    return Layout(
        tokens=tuple(range(rows)),
        texts=tuple(str(row) for row in range(rows)),
        content=tuple(range(rows)),
        frames=frames,
        melframes=melframes,
        stride=stride,
        melframe_seconds=0.01,
    )


# One token, five melframes (the last window is short), two mel channels.
FIVE = np.array([[[1.0, 2.0], [3.0, 0.0], [5.0, 4.0], [0.0, 1.0], [2.0, 6.0]]])
THREE_FRAMES = layout(frames=3, melframes=5, stride=2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [3, 5, 6]),
        ({"pool_frequency": "mean"}, [1.5, 4.5, 4]),
        ({"pool_time": "mean"}, [2.5, 3, 6]),
        ({"pool_frequency": "mean", "pool_time": "mean"}, [1.5, 2.5, 4]),
        # Windows {0}, {1, 2}, {3, 4}: centred on melframes 0, 2, 4.
        ({"window": "centred"}, [2, 5, 6]),
        ({"window": "centred", "pool_time": "mean"}, [2, 4, 3.5]),
    ],
)
def test_pooling_by_hand(options: dict, expected: list[float]) -> None:
    assert pool(FIVE, THREE_FRAMES, Scoring(**options)).tolist() == [expected]


def test_centred_windows_of_odd_and_wide_strides() -> None:
    centred = Scoring(window="centred")
    ramp = np.arange(7.0).reshape(1, 7, 1)
    # Stride 3: {0, 1}, {2, 3, 4}, {5, 6}, symmetric about melframes 0, 3, 6.
    assert pool(ramp, layout(frames=3, melframes=7, stride=3), centred).tolist() == [[1, 4, 6]]
    # Stride 4: {0, 1}, {2, 3, 4, 5}; melframe 6 belongs to a frame that does not exist.
    assert pool(ramp, layout(frames=2, melframes=7, stride=4), centred).tolist() == [[1, 5]]


def test_pooling_keeps_tokens_apart() -> None:
    two = np.concatenate([FIVE, 10 * FIVE[:, ::-1]])
    grid = layout(rows=2, frames=3, melframes=5, stride=2)
    assert pool(two, grid, Scoring()).tolist() == [[3, 5, 6], [60, 50, 20]]


def test_pooling_is_done_in_float64() -> None:
    values = np.full((1, 4, 3), 0.1, dtype=np.float32)
    mean = Scoring(pool_frequency="mean", pool_time="mean")
    pooled = pool(values, layout(frames=2, melframes=4, stride=2), mean)
    assert pooled.dtype == np.float64
    assert pooled == pytest.approx(np.full((1, 2), float(np.float32(0.1))), rel=1e-15)


@pytest.mark.parametrize(("frames", "melframes"), [(4, 6), (0, 6)])
def test_frames_without_melframes_are_refused(frames: int, melframes: int) -> None:
    with pytest.raises(UsageError, match=f"{melframes} spectrogram frames are too few"):
        pool(
            np.ones((1, melframes, 2)),
            layout(frames=frames, melframes=melframes, stride=2),
            Scoring(),
        )


def test_expand_by_hand() -> None:
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    short = layout(rows=2, frames=3, melframes=5, stride=2)
    assert expand(values, short).tolist() == [[1, 1, 2, 2, 3], [4, 4, 5, 5, 6]]
    long = layout(rows=2, frames=3, melframes=8, stride=2)
    assert expand(values, long).tolist() == [[1, 1, 2, 2, 3, 3, 3, 3], [4, 4, 5, 5, 6, 6, 6, 6]]
    # Blocks of 2.5 melframes begin at 0, round(2.5) = 2 (a tie goes to the even number), 5, and end at round(7.5) = 8.
    part = layout(rows=2, frames=3, melframes=8, stride=2.5)
    assert expand(values, part).tolist() == [[1, 1, 2, 2, 2, 3, 3, 3], [4, 4, 5, 5, 5, 6, 6, 6]]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 5) | st.sampled_from([1.6, 2.5, 3.75]),
    st.data(),
)
def test_block_pooling_undoes_expand(
    seed: int, rows: int, frames: int, stride: float, data: st.DataObject
) -> None:
    least, most = round(stride * (frames - 1)) + 1, round(stride * frames)
    melframes = data.draw(st.integers(least, most))
    grid = layout(rows=rows, frames=frames, melframes=melframes, stride=stride)
    values = np.random.default_rng(seed).normal(size=(rows, frames))
    assert np.array_equal(pool(expand(values, grid)[:, :, None], grid, Scoring()), values)


def test_encoder_space_maps_pass_through_as_float64() -> None:
    values = np.array([[1, 2, 4]], dtype=np.float32)
    grid = on_encoder_grid(values, THREE_FRAMES, Scoring(order="normalise-first"))
    assert grid.values.dtype == np.float64
    assert grid.values.tolist() == [[1, 2, 4]]
    assert not grid.standardised


def test_last_frame_is_dropped_in_both_spaces() -> None:
    drop = Scoring(last_frame="drop")
    assert on_encoder_grid(np.array([[1.0, 2.0, 4.0]]), THREE_FRAMES, drop).values.tolist() == [
        [1, 2]
    ]
    assert on_encoder_grid(FIVE, THREE_FRAMES, drop).values.tolist() == [[3, 5]]


def test_signed_maps_lose_their_sign_before_pooling() -> None:
    signed = FIVE.copy()
    signed[0, 0, 0] = -9
    assert on_encoder_grid(signed, THREE_FRAMES, Scoring(), signed=True).values.tolist() == [
        [9, 5, 6]
    ]
    assert on_encoder_grid(signed, THREE_FRAMES, Scoring()).values.tolist() == [[3, 5, 6]]
    flat = np.array([[-1.0, 2.0, -3.0]])
    assert on_encoder_grid(flat, THREE_FRAMES, Scoring(), signed=True).values.tolist() == [
        [1, 2, 3]
    ]
    assert flat.tolist() == [[-1, 2, -3]]


@pytest.mark.parametrize(("ddof", "sd"), [(0, np.sqrt(3)), (1, 2)])
def test_normalise_first_by_hand(ddof: int, sd: float) -> None:
    # Token 0: cells 1, 1, 1, 5: mean 2, squared deviations 1 + 1 + 1 + 9 = 12 over 4 or 3.
    # Token 1: constant, so zeros.
    values = np.array([[[1.0, 1.0], [1.0, 5.0]], [[7.0, 7.0], [7.0, 7.0]]])
    grid = layout(rows=2, frames=2, melframes=2, stride=1)
    result = on_encoder_grid(values, grid, Scoring(order="normalise-first", ddof=ddof))
    assert result.standardised
    assert result.values == pytest.approx(np.array([[-1 / sd, 3 / sd], [0, 0]]), rel=1e-12)
    assert not on_encoder_grid(values, grid, Scoring()).standardised


@pytest.mark.parametrize("shape", [(1, 5), (2, 3), (1, 3, 2), (1, 5, 0), (2, 5, 2)])
def test_maps_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        on_encoder_grid(np.ones(shape), THREE_FRAMES, Scoring())


def test_standardise_by_hand() -> None:
    values = np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0], [0.0, 0.0, 0.0]])
    rows, constant = standardise(values, axis=1)
    root = np.sqrt(3 / 2)
    assert rows == pytest.approx(np.array([[-root, 0, root], [0, 0, 0], [0, 0, 0]]), rel=1e-12)
    assert constant.tolist() == [False, True, True]
    sample, _ = standardise(values, axis=1, ddof=1)
    assert sample[0] == pytest.approx([-1, 0, 1], rel=1e-12)
    columns, constant = standardise(values[:2], axis=0)
    assert columns.tolist() == [[-1, -1, -1], [1, 1, 1]]
    assert constant.tolist() == [False, False, False]


@pytest.mark.parametrize("ddof", [0, 1])
def test_one_value_is_constant_and_becomes_zero(ddof: int) -> None:
    z, constant = standardise(np.array([[3.0], [5.0]]), axis=1, ddof=ddof)
    assert z.tolist() == [[0], [0]]
    assert constant.tolist() == [True, True]


@pytest.mark.parametrize(("relative", "constant"), [(0.9e-6, True), (1.1e-6, False)])
@pytest.mark.parametrize("scale", [1e-9, 1.0, -1e9])
def test_constant_is_relative_to_the_mean_magnitude(
    relative: float, constant: bool, scale: float
) -> None:
    values = scale * np.array([[1 - relative, 1 + relative]])  # sd / mean magnitude = relative
    z, mask = standardise(values, axis=1)
    assert mask.tolist() == [constant]
    assert bool((z == 0).all()) is constant


def test_resolution_raises_the_threshold() -> None:
    values = np.array([[-0.01, 0.01]])
    assert standardise(values, axis=1, resolution=0.011)[1].tolist() == [True]
    assert standardise(values, axis=1, resolution=0.009)[1].tolist() == [False]


@pytest.mark.parametrize("content", [(0, 2), (-1, 0), (1, 0), (0, 0)])
def test_content_rows_must_be_rows_in_order(content: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="content rows"):
        Layout((5, 6), ("a", "b"), content, 3, 6, 2, 0.01)


def test_every_token_needs_a_text() -> None:
    with pytest.raises(UsageError, match="2 tokens but 1 texts"):
        Layout((5, 6), ("a",), (0,), 3, 6, 2, 0.01)
