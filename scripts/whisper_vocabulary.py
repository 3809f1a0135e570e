"""Write the packaged vocabularies of Whisper from a tokenizer.json of the checkpoint.

Usage: python scripts/whisper_vocabulary.py FOLDER/tokenizer.json english|multilingual

The pairs come from the tokens themselves, not from the file's merges: published files lack some. A token was made by
the merges of earlier ones, so its halves are what is left of its bytes once all earlier merges are done.
"""

from __future__ import annotations

import json
import lzma
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

BYTES = 256
FOLDER = Path(__file__).parents[1] / "benchmark" / "xbench" / "models" / "families"


def halves(token: str, ranks: dict[str, int]) -> tuple[str, str]:
    """Return the two tokens that were merged last, by the merges of all tokens before this one."""
    parts, own = list(token), ranks[token]
    while len(parts) > 2:
        merged = [ranks.get(a + b, own) for a, b in pairwise(parts)]
        first = merged.index(min(merged))
        if merged[first] >= own:
            raise SystemExit(f"{token!r} is not made of earlier tokens")
        parts[first : first + 2] = ["".join(parts[first : first + 2])]
    return parts[0], parts[1]


def main(file: Path, name: str) -> None:
    """Write the file of one vocabulary."""
    tokens = json.loads(file.read_text("utf-8"))["model"]["vocab"]
    tokens = {token: number for token, number in tokens.items() if token != "<|endoftext|>"}
    ordered = sorted(tokens, key=lambda token: tokens[token])
    pairs = [
        (tokens[a], tokens[b])
        for a, b in (halves(token, tokens) if token else ("", "") for token in ordered[BYTES:])
    ]
    packed = lzma.compress(np.array(pairs, "<u2").T.tobytes(), preset=9 | lzma.PRESET_EXTREME)
    (FOLDER / f"whisper_{name}.xz").write_bytes(packed)
    print(f"{name}: {len(ordered)} tokens, {len(packed)} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
