"""A map as a small picture within a page: PNG without compression, so that its bytes do not depend on a library."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from xbench.bundle import unpack
from xbench.site.charts import LEVELS, viridis

WIDTH, HEIGHT = 72, 24
"""Most pixels: a column shows the largest of its frames, tokens beyond the height are left out."""
_BLOCK = 0xFFFF  # bytes of a stored block (RFC 1951)


def thumbnail(entry: Mapping[str, Any]) -> str:
    """Return a map of a bundle as a `data:` address, each token on its own scale."""
    grid = unpack(entry)[:HEIGHT]
    starts = np.linspace(0, grid.shape[1], min(WIDTH, grid.shape[1]), endpoint=False).astype(int)
    return address(np.maximum.reduceat(grid, starts, axis=1))


def address(grid: Float[np.ndarray, "token frame"]) -> str:
    """Return a map as a `data:` address with a pixel per value, each token on its own scale."""
    low, high = grid.min(axis=1, keepdims=True), grid.max(axis=1, keepdims=True)
    share = (grid - low) / np.where(high > low, high - low, 1.0)
    levels = np.minimum(share * LEVELS, LEVELS - 1).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(_png(levels)).decode("ascii")


def _png(levels: np.ndarray) -> bytes:
    """Write levels as a PNG with the colours of the charts (PNG specification, colour type 3, 8 bits)."""
    high, wide = levels.shape
    palette = b"".join(bytes.fromhex(viridis(step)[1:]) for step in range(LEVELS))
    lines = b"".join(b"\0" + line.tobytes() for line in levels)
    blocks = [lines[i : i + _BLOCK] for i in range(0, len(lines), _BLOCK)]
    stored = b"\x78\x01" + b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block
        for block in blocks
    )
    stored += struct.pack(">I", zlib.adler32(lines))
    header = struct.pack(">IIBBBBB", wide, high, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", stored), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
