"""The random numbers of numpy's Philox generator for many counters at once, on any device, bit for bit.

`numpy.random.Philox` gives one stream at a time, on the CPU. Masks need a short stream each, thousands of them, where
the passes run. Philox 4x64-10 makes four 64-bit words from a counter of four and a key of two; in each of ten rounds

    (c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0,  lo(M1 c2),  hi(M0 c0) ^ c3 ^ k1,  lo(M0 c0))

with hi and lo the halves of the 128-bit product, and the key raised by (W0, W1) after each round.

Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (doi 10.1145/2063384.2063405); constants as in
numpy, whose stream begins with counter 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int
from torch import Tensor

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_LOW = 0xFFFFFFFF


def uniform(key: int, streams: Int[Tensor, " stream"], size: int) -> Float64[Tensor, "stream size"]:
    """Return `Generator(Philox(key=key, counter=[0, 0, 0, stream])).random(size)` for each stream, on its device.

    key: 128 bits. A number is the upper 53 bits of a word, times 2^-53.
    """
    blocks = torch.arange(1, -(-size // 4) + 1, device=streams.device)
    c0 = blocks.expand(len(streams), -1)
    c1 = c2 = torch.zeros_like(c0)
    c3 = streams.long()[:, None].expand_as(c0)
    words = [_signed(key), _signed(key >> 64)]
    for _ in range(_ROUNDS):
        high0, low0 = _product(c0, _MULTIPLIERS[0])
        high1, low1 = _product(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ words[0], low1, high0 ^ c3 ^ words[1], low0
        words = [_signed(word + step) for word, step in zip(words, _WEYL, strict=True)]
    drawn = torch.stack([c0, c1, c2, c3], -1).flatten(1)[:, :size]
    return ((drawn >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def _product(number: Int[Tensor, "..."], multiplier: int) -> tuple[Tensor, Tensor]:
    """Return the upper and lower 64 bits of an unsigned product, from products of 32-bit halves."""
    low, high = number & _LOW, (number >> 32) & _LOW
    m_low, m_high = multiplier & _LOW, multiplier >> 32
    carry = ((low * m_low) >> 32) & _LOW
    middle = high * m_low + carry
    other = low * m_high + (middle & _LOW)
    upper = high * m_high + ((middle >> 32) & _LOW) + ((other >> 32) & _LOW)
    return upper, number * _signed(multiplier)


def _signed(word: int) -> int:
    """Return the lower 64 bits as the signed number that torch holds them in; its sums and products wrap around."""
    word &= (1 << 64) - 1
    return word - (1 << 64) if word >> 63 else word
