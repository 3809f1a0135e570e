from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.case import Case
from xbench.errors import Unsupported, UsageError
from xbench.methods.timing import alignment_heads, cheapest_path, dtw_path, whisper_timing
from xbench.models.loading import load_model
from xbench.models.protocol import Features, Hypothesis, ModelInfo
from xbench.trace import AttentionBlock, build_trace

PADDING = 2
PROMPT = 3


@pytest.fixture
def timed(planted: Any) -> Callable[..., Case]:
    """Return a function that makes a case whose heads have these weights [layer][head][token][frame].

    Two padding frames draw nearly all attention before the crop, and prompt rows look anywhere.
    """

    def build(
        weights: Any, pairs: tuple[tuple[int, int], ...], content: tuple[int, ...] | None = None
    ) -> Case:
        shown = torch.tensor(weights)
        layers, heads, rows, frames = shown.shape
        scores = torch.full((layers, heads, PROMPT - 1 + rows, frames + PADDING), 30.0)
        scores[:, :, PROMPT - 1 :, :frames] = shown.log()
        scores[:, :, : PROMPT - 1, :frames] = torch.randn(frames)

        class Publishing(type(planted)):  # type: ignore[misc]
            @property
            def info(self) -> ModelInfo:
                return replace(
                    super().info, alignment_heads=pairs, decoder_layers=layers, heads=heads
                )

        features = Features(torch.zeros(2 * (frames + PADDING), 4), 2 * frames, frames, 2, 0.01)
        kept = tuple(range(rows)) if content is None else content
        tokens = tuple(range(rows))
        hypothesis = Hypothesis((0,) * PROMPT, tokens, tuple("abcdefgh"[:rows]), kept, "", False)
        case = Case(Publishing(), features, hypothesis, "clip")
        stack = tuple(block(layer) for layer in scores)
        needs = {"cross-projections"}
        return replace(case, trace=build_trace({"cross": stack}, case.layout, PROMPT, needs))

    return build


def block(scores: Tensor) -> AttentionBlock:
    """Return an attention block with these scores [head, position, source]."""
    heads, positions, sources = scores.shape
    return AttentionBlock(
        query=4 * scores,
        key=torch.eye(sources).expand(heads, -1, -1),
        value=torch.zeros(heads, sources, sources),
        output=torch.zeros(positions, heads * sources),
        output_weight=torch.zeros(heads * sources, heads * sources),
        output_bias=torch.zeros(heads * sources),
        scale=0.25,
        causal=False,
    )


def reading(case: Case, weights: list[list[float]]) -> tuple[Case, list[tuple[int, ...]]]:
    """Let the model of a case attend with these weights [position][frame] when it traces; also return what it read.

    All positions of the decoder's input have a row.
    """
    asked = []

    class Reading(type(case.model)):  # type: ignore[misc]
        def trace(self, features: Features, hypothesis: Hypothesis, needs: Any) -> Any:
            asked.append(hypothesis.tokens)
            scores = torch.full((1, len(weights), case.layout.frames + PADDING), 30.0)
            scores[:, :, : case.layout.frames] = torch.tensor(weights).log()
            axes = replace(case, hypothesis=hypothesis).layout
            return build_trace({"cross": (block(scores),)}, axes, PROMPT, needs)

    return replace(case, model=Reading()), asked


def check(values: Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(values, torch.tensor(expected), atol=1e-5, rtol=1e-5)


FIRST = [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2]]
SECOND = [[0.2, 0.6, 0.2], [0.2, 0.2, 0.6]]
OTHER = [[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]]
WEIGHTS = [[OTHER, FIRST], [SECOND, OTHER]]
PAIRS = ((0, 1), (1, 0))


# -- alignment-heads ------------------------------------------------------------------------------


def test_alignment_heads_is_the_mean_of_the_published_pairs(timed: Callable[..., Case]) -> None:
    check(alignment_heads(timed(WEIGHTS, PAIRS)), [[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    check(alignment_heads(timed(WEIGHTS, ((1, 1),))), OTHER)


@pytest.mark.parametrize(
    "method",
    [
        alignment_heads,
        lambda case: whisper_timing(case, filter_width=7),
        lambda case: dtw_path(case, filter_width=7),
    ],
)
def test_without_usable_heads_it_is_unsupported(
    timed: Callable[..., Case], method: Callable[[Case], Tensor]
) -> None:
    with pytest.raises(Unsupported, match=r"^model 'planted' publishes no alignment heads"):
        method(timed(WEIGHTS, ()))
    with pytest.raises(Unsupported, match="layer 2 does not exist: the decoder has layers 0 to 1"):
        method(timed(WEIGHTS, ((2, 0),)))
    with pytest.raises(Unsupported, match="head 2 does not exist"):
        method(timed(WEIGHTS, ((0, 0), (0, 2))))


# -- whisper-timing -------------------------------------------------------------------------------


def test_two_tokens_standardise_to_plus_and_minus_one(timed: Callable[..., Case]) -> None:
    # FIRST: [1, -1, 0], [-1, 1, 0]; SECOND: [0, 1, -1], [0, -1, 1]; equal columns are 0.
    found = whisper_timing(timed(WEIGHTS, PAIRS), filter_width=1)
    check(found, [[0.5, 0.0, -0.5], [-0.5, 0.0, 0.5]])


def test_the_deviation_is_that_of_the_population(timed: Callable[..., Case]) -> None:
    # Column 0: 0.5, 0.25, 0 have mean 0.25 and population variance 1/24.
    weights = [[[[0.5, 0.5], [0.25, 0.75], [1e-9, 1 - 1e-9]]]]
    z = 0.25 * 24**0.5
    expected = [[z, -z], [0.0, 0.0], [-z, z]]
    check(whisper_timing(timed(weights, ((0, 0),)), filter_width=1), expected)


def test_the_median_filter_reflects_without_the_edge(timed: Callable[..., Case]) -> None:
    # [1, -1, 0] becomes medians of (-1 1 -1), (1 -1 0), (-1 0 -1).
    found = whisper_timing(timed([[FIRST]], ((0, 0),)), filter_width=3)
    check(found, [[-1.0, 0.0, -1.0], [1.0, 0.0, 1.0]])


def test_the_filter_comes_before_the_mean_over_heads(timed: Callable[..., Case]) -> None:
    # FIRST as above; SECOND [0, 1, -1] becomes medians of (1 0 1), (0 1 -1), (1 -1 1).
    found = whisper_timing(timed(WEIGHTS, PAIRS), filter_width=3)
    check(found, [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    only_second = whisper_timing(timed(WEIGHTS, ((1, 0),)), filter_width=3)
    check(only_second, [[1.0, 0.0, 1.0], [-1.0, 0.0, -1.0]])


def test_end_of_text_stands_over_content_and_itself_and_moves_no_content_row(
    timed: Callable[..., Case],
) -> None:
    ended = [[[*FIRST, [0.2, 0.2, 0.6]]]]
    found = whisper_timing(timed(ended, ((0, 0),), content=(0, 1)), filter_width=1)
    # Column 0 of end of text: 0.2 among (0.6, 0.2, 0.2): -(2/15) / (0.4 sqrt(2) / 3) = -1/sqrt(2).
    low, high = -(0.5**0.5), 2**0.5
    check(found, [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [low, low, high]])


def test_the_rule_of_openai_counts_every_position(timed: Callable[..., Case]) -> None:
    """Two rows of the prompt look at the first frame; end of text, as input, at the last."""
    case = timed([[[*FIRST, [0.2, 0.2, 0.6]]]], ((0, 0),), content=(0, 1))
    read = [[0.6, 0.2, 0.2], [0.6, 0.2, 0.2], *FIRST, [0.2, 0.2, 0.6], [0.2, 0.2, 0.6]]
    case, asked = reading(case, read)
    # Of six positions three have the high weight in frame 0, one in frame 1, two in frame 2. Where p of n are high,
    # they lie sqrt((n - p) / p) deviations above the mean, the others sqrt(p / (n - p)) below.
    of_five, of_two = 5**0.5, 2**0.5
    expected = [
        [1.0, -1 / of_five, -1 / of_two],
        [-1.0, of_five, -1 / of_two],
        [-1.0, -1 / of_five, of_two],
    ]
    check(whisper_timing(case, filter_width=1, rows="all"), expected)
    path = torch.from_numpy(cheapest_path(-np.array(expected))).float()
    assert torch.equal(dtw_path(case, filter_width=1, rows="all"), path)
    # The text as it was written, and one token behind it that nothing reads.
    assert {tokens[:-1] for tokens in asked} == {(0, 1, 2)}


def test_a_text_that_was_cut_off_has_no_end_to_read(timed: Callable[..., Case]) -> None:
    read = [[0.6, 0.2, 0.2], [0.6, 0.2, 0.2], *FIRST]
    case, asked = reading(timed([[FIRST]], ((0, 0),)), read)
    spoken = replace(case.hypothesis, truncated=True)
    trace = case.model.trace(case.features, spoken, {"cross-projections"})
    asked.clear()
    found = whisper_timing(
        replace(case, hypothesis=spoken, trace=trace), filter_width=1, rows="all"
    )
    # Of four positions three are high in frame 0 and one in frame 1; in frame 2 all are alike.
    third = 3**-0.5
    check(found, [[third, -third, 0.0], [-(3**0.5), 3**0.5, 0.0]])
    assert not asked


def test_a_single_content_token_has_nothing_to_stand_out_from(timed: Callable[..., Case]) -> None:
    check(whisper_timing(timed([[FIRST[:1]]], ((0, 0),)), filter_width=7), [[0.0, 0.0, 0.0]])


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_clips_shorter_than_the_filter_stay_finite(timed: Callable[..., Case], frames: int) -> None:
    weights = torch.rand(1, 1, 4, frames).softmax(-1).tolist()
    found = whisper_timing(timed(weights, ((0, 0),)), filter_width=7)
    assert found.shape == (4, frames)
    assert torch.isfinite(found).all()


def test_an_even_filter_is_unsupported(timed: Callable[..., Case]) -> None:
    with pytest.raises(Unsupported, match="filter_width 4 is even"):
        whisper_timing(timed(WEIGHTS, PAIRS), filter_width=4)


def test_scores_are_cropped_not_weights(timed: Callable[..., Case]) -> None:
    # The weight left on valid frames, e^-130, is zero in float32; the scores still tell them apart.
    case = timed([[FIRST]], ((0, 0),))
    assert case.trace is not None
    stack = case.trace.blocks["cross"]
    far = replace(stack[0], query=stack[0].query.clone())
    far.query[..., -PADDING:] = 4 * 130.0
    case = replace(
        case, trace=build_trace({"cross": (far,)}, case.layout, PROMPT, {"cross-projections"})
    )
    assert case.trace is not None
    assert case.trace.cross_attention.sum() == 0
    check(whisper_timing(case, filter_width=1), [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])


def test_it_agrees_with_transformers_on_a_trained_model(
    micro: Any, shared_folder: Path, case_of: Callable[..., Case]
) -> None:
    from transformers.models.whisper.generation_whisper import (
        _dynamic_time_warping,
        _median_filter,
    )

    from xbench.data.audio import read_audio

    case = case_of(micro, read_audio(shared_folder / "audio" / "en-digits-theo.flac", 16000))
    trace = micro.trace(case.features, case.hypothesis, {"cross-projections"})
    case = replace(case, trace=trace)
    content = list(case.layout.content)
    pairs = micro.info.alignment_heads
    assert pairs == ((1, 0), (1, 1), (1, 2), (1, 3))
    weights = torch.stack([trace.cross_attention[pair] for pair in pairs])[:, content]
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    theirs = _median_filter((weights - mean) / deviation, 7).mean(0)
    ours = whisper_timing(case, filter_width=7)
    torch.testing.assert_close(ours[content], theirs, atol=1e-4, rtol=1e-3)

    rows, frames = _dynamic_time_warping(-ours.double().numpy())
    expected = np.zeros(ours.shape)
    expected[rows, frames] = 1
    assert np.array_equal(dtw_path(case, filter_width=7).numpy(), expected)


# -- dtw-path -------------------------------------------------------------------------------------


def test_a_path_by_hand() -> None:
    cost = np.array([[0.0, 0.0, 9.0, 9.0], [9.0, 9.0, 0.0, 9.0], [9.0, 9.0, 9.0, 0.0]])
    expected = [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert cheapest_path(cost).tolist() == expected


def test_a_path_may_have_several_tokens_in_one_frame() -> None:
    assert cheapest_path(np.zeros((3, 1))).tolist() == [[1], [1], [1]]
    assert cheapest_path(np.array([[0.0, 9.0], [0.0, 9.0], [9.0, 0.0]])).tolist() == [
        [1, 0],
        [1, 0],
        [0, 1],
    ]


def test_equally_cheap_ways_are_decided_from_the_end() -> None:
    # Both steps at once as long as there are rows above, then back along the first row.
    assert cheapest_path(np.zeros((2, 4))).tolist() == [[1, 1, 1, 0], [0, 0, 0, 1]]
    assert cheapest_path(np.array([[0.0, 5.0], [0.0, 0.0]])).tolist() == [[1, 0], [0, 1]]
    # Where both at once are dearer, the step from the row above.
    assert cheapest_path(np.array([[0.0, -1.0], [-1.0, 0.0]])).tolist() == [[1, 1], [0, 1]]


def monotonic_paths(rows: int, frames: int) -> Iterator[list[tuple[int, int]]]:
    def extend(path: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        row, frame = path[-1]
        if (row, frame) == (rows - 1, frames - 1):
            yield path
            return
        for step in ((1, 1), (1, 0), (0, 1)):
            following = (row + step[0], frame + step[1])
            if following[0] < rows and following[1] < frames:
                yield from extend([*path, following])

    yield from extend([(0, 0)])


@pytest.mark.parametrize(("rows", "frames"), [(1, 5), (2, 2), (3, 5), (5, 3), (4, 4)])
def test_no_path_is_cheaper(rows: int, frames: int) -> None:
    generator = np.random.default_rng(rows * 10 + frames)
    for _ in range(20):
        cost = generator.standard_normal((rows, frames))
        path = cheapest_path(cost)
        cheapest = min(monotonic_paths(rows, frames), key=lambda p: sum(cost[c] for c in p))
        assert {tuple(c) for c in np.argwhere(path)} == set(cheapest)


@pytest.mark.parametrize(("rows", "frames"), [(7, 40), (40, 7), (1, 30), (30, 1)])
def test_every_row_and_frame_has_a_cell_and_the_path_never_turns_back(
    rows: int, frames: int
) -> None:
    path = cheapest_path(np.random.default_rng(1).standard_normal((rows, frames)))
    assert set(np.unique(path)) <= {0.0, 1.0}
    assert path.any(0).all()
    assert path.any(1).all()
    cells = np.argwhere(path)
    steps = np.diff(cells, axis=0)  # argwhere goes row by row, frame by frame
    assert (steps >= 0).all()
    assert (steps <= 1).all()


def test_the_path_follows_the_timing_matrix(timed: Callable[..., Case]) -> None:
    # M: [1, -1, -1, 0], [-1, 1, 1, 0] and end of text above 0 in the last two frames.
    weights = [[[[0.8, 0.1, 0.05, 0.05], [0.1, 0.75, 0.1, 0.05], [0.1, 0.15, 0.3, 0.45]]]]
    found = dtw_path(timed(weights, ((0, 0),), content=(0, 1)), filter_width=1)
    # The third frame is worth something to both: the path takes it twice.
    check(found, [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])


# -- which heads a checkpoint publishes -----------------------------------------------------------


def with_heads(source: Path, target: Path, heads: Any) -> str:
    shutil.copytree(source, target)
    path = target / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alignment_heads": heads}))
    return f"whisper:{target}"


def test_alignment_heads_come_from_the_generation_config(
    tiny: Any, tiny_whisper_folder: Path, tmp_path: Path, case_of: Callable[..., Case], clip: Any
) -> None:
    assert tiny.info.alignment_heads == ()
    name = with_heads(tiny_whisper_folder, tmp_path / "published", [[1, 0], [0, 1]])
    model = load_model(name, device="cpu")
    assert model.info.alignment_heads == ((1, 0), (0, 1))
    case = case_of(model, clip(1.0))
    trace = model.trace(case.features, case.hypothesis, frozenset())
    found = alignment_heads(replace(case, trace=trace))
    expected = (trace.cross_attention[1, 0] + trace.cross_attention[0, 1]) / 2
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("heads", [[[1]], [1, 0], "1", [["a", "b"]], 5])
def test_alignment_heads_that_are_no_pairs_are_refused(
    tiny_whisper_folder: Path, tmp_path: Path, heads: Any
) -> None:
    name = with_heads(tiny_whisper_folder, tmp_path / "odd", heads)
    with pytest.raises(
        UsageError, match=r"alignment_heads .* is not a list of \[layer, head\] pairs"
    ):
        load_model(name, device="cpu")
