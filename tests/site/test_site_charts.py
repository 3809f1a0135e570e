"""Forest plots draw once what all lines share; fronts name all their points; maps of heads have numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from xbench.site.charts import (
    Dot,
    FrontPoint,
    beyond,
    forest,
    forest_scale,
    heads_chart,
    pareto_chart,
)

DOT = Dot(0.5, 0.4, 0.6, floor=0.0, ceiling=1.0, family="attention")


def test_bounds_and_band_that_all_lines_share_stand_once_in_the_axis() -> None:
    axis, lines = forest([DOT, replace(DOT, value=0.2)], [DOT], "name")
    for kind in ("band", "floor", "ceiling"):
        assert axis.count(f'class="{kind}"') == 1
        assert not any(f'class="{kind}"' in line for line in lines)
    assert '<g id="name">' in axis
    assert all(line.count('<use href="#name"/>') == 1 for line in lines)


def test_bounds_of_their_own_stay_with_the_lines() -> None:
    axis, lines = forest([DOT, replace(DOT, ceiling=0.9)], [], "name")
    assert 'class="ceiling"' not in axis
    assert 'class="floor"' not in axis
    assert all(line.count('class="ceiling"') == 1 for line in lines)
    assert lines[0] != lines[1]


def test_of_many_lines_a_few_wide_intervals_do_not_press_the_others_together() -> None:
    narrow = [replace(DOT, value=0.1 + i / 100, low=0.0, high=0.5) for i in range(19)]
    bounded = [replace(dot, floor=0.0, ceiling=0.6) for dot in narrow]
    wide = replace(bounded[0], high=12.34)
    scale = forest_scale([*bounded, wide])
    assert 0.5 < scale.high < 1
    assert beyond(wide, scale) == (None, 12.34)
    assert beyond(bounded[0], scale) == (None, None)
    _, lines = forest([*bounded, wide], [], "name")
    assert [("12.3 →" in line) for line in lines] == [False] * 19 + [True]
    # Few lines are shown whole, and so are many without such an interval.
    assert forest_scale([*bounded[:5], wide]).high > 12.34
    assert forest_scale([*bounded, replace(wide, high=0.9)]).high > 0.9
    low = replace(bounded[0], low=-5.0)
    assert beyond(low, forest_scale([*bounded, low])) == (-5.0, None)


def test_a_shape_that_nobody_uses_is_not_kept() -> None:
    bare = replace(DOT, floor=None, ceiling=None)
    axis, lines = forest([replace(bare, value=1.0, low=None, high=None)], [], "name")
    assert "<defs>" not in axis
    assert "<use" not in lines[0]


def test_every_point_of_a_front_is_named_and_no_name_lies_on_another() -> None:
    points = [
        FrontPoint(f"method-{i}", 1.0 + 0.01 * i, 0.5 + 0.001 * i, None, None, "attention", True)
        for i in range(12)
    ]
    chart = pareto_chart(points, "t", "d", "seconds")
    heights = sorted(map(float, re.findall(r'class="name \w+" x="[\d.]+%" y="([\d.]+)%"', chart)))
    assert len(heights) == 12
    assert all(b - a >= 3.79 for a, b in pairwise(heights))


def test_no_name_is_struck_through_by_the_front() -> None:
    # The first point is at the left end of a level part, and the second takes the place above it.
    points = [
        FrontPoint("value-norm-resln", 1.0, 0.67, None, None, "attention", True),
        FrontPoint("chefer", 20.0, 0.674, None, None, "gradient", True),
        FrontPoint("faint", 70.0, 0.0, None, None, "gradient", False),
    ]
    chart = pareto_chart(points, "t", "d", "passes")
    drawn = re.findall(
        r'class="front" x1="([\d.]+)%" y1="([\d.]+)%" x2="([\d.]+)%" y2="([\d.]+)%', chart
    )
    level = [float(y1) for _, y1, _, y2 in drawn if y1 == y2]
    names = re.findall(r'class="name \w+" x="[\d.]+%" y="([\d.]+)%"[^>]*>value-norm-resln<', chart)
    assert len(level) == len(names) == 1
    height = float(names[0])
    assert not height - 3.8 < level[0] < height + 1


def test_a_map_of_heads_has_the_numbers_of_layers_and_heads() -> None:
    values = {(layer, head): 0.1 * head for layer in range(2) for head in range(30)}
    drawn = heads_chart(values, 2, 30, (0.0, 3.0), "t", "d", (1, 29))
    assert re.findall(r"<text[^>]*>(\d+)</text>", drawn) == [
        *("0", "3", "6", "9", "12", "15", "18", "21", "24", "27"),  # every third head
        *("0", "1"),
    ]
