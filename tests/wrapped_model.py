"""A model around another one, for tests that watch or spoil what it does."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Wrapped:
    """Hands every member of `SpeechModel` on to `self.model`; what a test changes, it overrides.

    The members are written out: from Python 3.12 on, a runtime check of a protocol does not see what
    `__getattr__` would hand on.
    """

    model: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @property
    def info(self) -> Any:
        return self.model.info

    def check_language(self, source: str, target: str | None) -> None:
        self.model.check_language(source, target)

    def features(self, audio: Any) -> Any:
        return self.model.features(audio)

    def decode(self, features: Any, source: str, target: str | None, decoding: Any) -> Any:
        return self.model.decode(features, source, target, decoding)

    def encode(self, values: Tensor) -> Tensor:
        encoded: Tensor = self.model.encode(values)
        return encoded

    def logits(self, encoded: Tensor, hypothesis: Any) -> Tensor:
        logits: Tensor = self.model.logits(encoded, hypothesis)
        return logits

    def frame_masking(self, encoded: Tensor, hypothesis: Any) -> Any:
        return self.model.frame_masking(encoded, hypothesis)

    def randomised(self, seed: int) -> Any:
        return self.model.randomised(seed)

    def trace(self, features: Any, hypothesis: Any, needs: Any) -> Any:
        return self.model.trace(features, hypothesis, needs)
