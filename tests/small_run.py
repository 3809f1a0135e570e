"""A small run for tests of audits: its results and the store that made them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from xbench import Call, ExecutionOptions, RunSpec, evaluate
from xbench.results import RunResult, load_results
from xbench.store import Store


@dataclass(frozen=True)
class Made:
    """Results of `mean-heads` and `diagonal` on six clips of six speakers, and their store."""

    folder: Path
    model: str

    @property
    def results(self) -> Path:
        """The folder of results."""
        return self.folder / "results"

    @property
    def cache(self) -> Path:
        """The folder of the store."""
        return self.folder / "cache"

    @property
    def given(self) -> list[RunResult]:
        """The results, loaded."""
        return load_results(self.results)

    @property
    def store(self) -> Store:
        """The store, opened."""
        return Store(self.cache)

    def evaluate(self, output: Path, *references: str) -> None:
        """Evaluate against these references; by default those of the task."""
        spec = RunSpec(
            model=self.model,
            methods=(Call("mean-heads"), Call("diagonal")),
            tasks=("asr",),
            data=str(self.folder / "clips.jsonl"),
            masks=24,
            references=tuple(map(Call.parse, references)),
            metrics=(Call("pearson"), Call("emd")),
        )
        evaluate(spec, ExecutionOptions(str(output), str(self.cache), "cpu"))


def made_in(folder: Path, model: str, words: Sequence[tuple[str, float, float]] = ()) -> Made:
    """Write the clips (with these word times), evaluate and return where everything lies."""
    times = [{"word": word, "start": start, "end": end} for word, start, end in words]
    generator = np.random.default_rng(0)
    lines = []
    for name in "abcdef":
        soundfile.write(folder / f"{name}.wav", generator.normal(0, 0.1, 16_000), 16_000)
        line = {"id": name, "audio": f"{name}.wav", "language": "en", "transcript": "one"}
        lines.append({**line, "words": times} if times else line)
    (folder / "clips.jsonl").write_text("\n".join(map(json.dumps, lines)))
    made = Made(folder, model)
    made.evaluate(made.results)
    return made
