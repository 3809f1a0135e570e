"""Rules for the source of the site: what may be marked as safe, what scripts may touch, readable colours."""

from __future__ import annotations

import re
from pathlib import Path

from xbench.site import charts
from xbench.site.render import leaderboard_folder


def test_only_charts_mark_text_as_safe() -> None:
    source = Path(charts.__file__).parent
    for file in source.rglob("*.py"):
        if file.name != "charts.py":
            assert "Markup" not in file.read_text(), file.name
    for file in (leaderboard_folder() / "templates").iterdir():
        text = file.read_text()
        assert "|safe" not in text.replace(" ", ""), file.name
        assert "autoescape" not in text, file.name
        assert "style=" not in text, file.name


def test_scripts_touch_no_html() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|fetch\(\s*[\"']http"
    for file in (leaderboard_folder() / "assets").glob("*.js"):
        assert not re.search(forbidden, file.read_text()), file.name


def test_no_template_text_stands_in_another() -> None:
    # Scripts are slimmed by a program that takes the inner one for code, and loses its spaces.
    for file in (leaderboard_folder() / "assets").glob("*.js"):
        for line in file.read_text().splitlines():
            outer = re.sub(r"\$\{[^{}`]*\}", "", line)  # what is left in braces holds a template
            assert not re.search(r"`[^`]*\$\{[^`}]*`", outer), f"{file.name}: {line.strip()}"


def test_the_stylesheet_has_the_colours_of_the_charts_with_readable_text() -> None:
    css = next((leaderboard_folder() / "assets").glob("site.css")).read_text()
    for step in range(charts.LEVELS):
        rule = re.search(rf"\.q{step}\{{background:(#\w{{6}});color:#(000|fff)\}}", css)
        assert rule
        assert rule[1] == charts.viridis(step)
        light = luminance(rule[1])
        contrast = (light + 0.05) / 0.05 if rule[2] == "000" else 1.05 / (light + 0.05)
        assert contrast >= 4.5


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_and_marks_stand_out_in_both_themes() -> None:
    css = (leaderboard_folder() / "assets" / "site.css").read_text()
    pairs = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\);", css)
    assert len(pairs) == 15
    for theme in (
        {name: light for name, light, _ in pairs},
        {name: dark for name, _, dark in pairs},
    ):
        colours = {name: expand(value) for name, value in theme.items()}
        for ground in ("page", "panel", "rule", "wash"):
            for name in ("ink", "soft", "accent", "warn", "perturbation", "gradient"):
                assert ratio(colours[name], colours[ground]) >= 4.5, (name, ground)
            for name in ("attention", "gradient", "perturbation", "control", "other"):
                assert ratio(colours[name], colours[ground]) >= 3, (name, ground)
        for name in ("attention", "gradient", "perturbation", "control", "ink"):
            assert ratio(colours[name], colours["band"]) >= 3, name


def expand(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])


def ratio(one: str, two: str) -> float:
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
