"""`xbench audit prefix`: shares of audio and text through the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

from command_line import Run
from small_run import Made


def test_the_command_says_what_every_clip_leans_on(run: Run, made: Made) -> None:
    where = ("--cache", made.cache, "--model", made.model, "--data", made.folder / "clips.jsonl")
    done = run(
        "audit", "prefix", made.results, *where, "--masks", "12", "--json", "--device", "cpu"
    )
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert len(told["clips"]) + len(told["failures"]) == 6
    shares = []
    for clip in told["clips"]:
        assert len(clip["tokens"]) == len(clip["share"]) == len(clip["relevance"])
        for audio, text, share in zip(clip["audio"], clip["text"], clip["share"], strict=True):
            if share is not None:
                assert share == pytest.approx(audio / (audio + text))
        known = [share for share in clip["share"] if share is not None]
        shares.append(np.mean(known))
    assert told["share"]["value"] == pytest.approx(np.mean(shares))


def test_the_table_shows_the_clip_that_leans_most_on_text(run: Run, made: Made) -> None:
    where = ("--cache", made.cache, "--model", made.model, "--data", made.folder / "clips.jsonl")
    done = run("audit", "prefix", made.results, *where, "--device", "cpu")
    assert done.code == 0, done.err
    assert "share of the audio" in done.out
    assert "where the share is lowest" in done.out
