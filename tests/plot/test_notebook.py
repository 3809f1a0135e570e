from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable

import numpy as np
from PIL import Image

from xbench.hiding.segments import frame_segments
from xbench.maps import GridMap
from xbench.notebook import map_html
from xbench.references.sampled import SampledReference
from xbench.results import RunResult


def picture(html: str) -> np.ndarray:
    (data,) = re.findall(r"base64,([^\"]+)", html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_map_is_a_grey_picture_dark_where_relevant() -> None:
    values = np.array([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
    html = map_html(values, "a & b", [" hello", "<s>"])
    # row 0: (0, 1, 2) of range 2; row 1 has no range and stays white
    assert picture(html).tolist() == [[255, 128, 0], [255, 255, 255]]
    assert "a &amp; b" in html
    assert "&lt;s&gt;" in html
    assert "<s>" not in html


def test_maps_and_references_show_themselves() -> None:
    assert "map of 2 tokens by 3 encoder frames" in GridMap(np.eye(2, 3))._repr_html_()
    sums = np.zeros((2, 1, 4))
    sums[:, 0, 1] = 2.0
    reference = SampledReference(
        frame_segments(4), sums, np.full((2, 4), 2), (5, 5), np.ones(1), "zero vector"
    )
    html = reference._repr_html_()
    assert picture(html).tolist() == [[255, 0, 255, 255]]
    assert "10 masks" in html


def test_results_show_their_scores_and_escape_what_others_wrote(
    make_result: Callable[..., RunResult],
) -> None:
    html = make_result("<script>", [0.2, 0.4])._repr_html_()
    assert "<td>0.300 [0.20, 0.40]</td>" in html
    assert "<script>" not in html
    assert "– (constant-map)" in make_result("uniform", [None])._repr_html_()
