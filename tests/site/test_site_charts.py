"""Forest plots: what all lines share is drawn once."""

from __future__ import annotations

from dataclasses import replace

from xbench.site.charts import Dot, forest

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


def test_a_shape_that_nobody_uses_is_not_kept() -> None:
    bare = replace(DOT, floor=None, ceiling=None)
    axis, lines = forest([replace(bare, value=1.0, low=None, high=None)], [], "name")
    assert "<defs>" not in axis
    assert "<use" not in lines[0]
