"""Which points no other point beats on both cost and score."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> tuple[bool, ...]:
    """Say of each (cost, score), cost better when lower, score when higher, whether it is on the front.

    A point is dominated if another is at least as good in both and better in one. Equal points
    stand together.
    """
    best = float("-inf")
    kept = set()
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if score > best:
            best = score
            kept.add((cost, score))
    return tuple(point in kept for point in points)
