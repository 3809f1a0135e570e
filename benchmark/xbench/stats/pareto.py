"""Which points no other point beats on both cost and score."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(
    costs: Sequence[float], values: Sequence[float], *, higher_is_better: bool = True
) -> list[bool]:
    """Say of each point whether no other costs at most as much and is at least as good, one strictly.

    Equal points are on the front together. Intervals do not enter: a front is a picture, not a test.
    """
    sign = 1 if higher_is_better else -1
    points = [(cost, sign * value) for cost, value in zip(costs, values, strict=True)]
    best = float("-inf")
    front = set()
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if value > best:
            best = value
            front.add((cost, value))
    return [point in front for point in points]
