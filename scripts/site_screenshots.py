"""Take pictures of a built site: `python scripts/site_screenshots.py SITE OUT [--all]`.

Without --all: the two of the README (docs/images). With it: every page type, wide and narrow, light and
dark, for looking through before a release. Needs the package playwright and Chromium (XBENCH_CHROMIUM).
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))

README = (("index.html", "site-home.png"), ("examples/*.html", "site-example.png"))


def _first(site: Path, pattern: str) -> str | None:
    found = sorted(p for p in site.glob(pattern) if p.name != "index.html" or "*" not in pattern)
    return found[0].relative_to(site).as_posix() if found else None


def _shoot(browser: Any, site: Path, path: str, out: Path, whole: bool, **context: Any) -> None:
    page = browser.new_context(**context).new_page()
    page.goto((site / path).resolve().as_uri())
    page.screenshot(path=str(out), full_page=whole)
    page.context.close()
    print(out)


def main() -> None:
    """Take the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--all", action="store_true", help="every page type, both widths and themes"
    )
    given = parser.parse_args()
    from harness import page_types
    from playwright.sync_api import sync_playwright

    given.out.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("XBENCH_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if given.all:
            for path, theme, width in itertools.product(
                page_types(given.site), ("light", "dark"), (1280, 320)
            ):
                name = f"{path.removesuffix('.html').replace('/', '-')}-{theme}-{width}.png"
                size = {"width": width, "height": 800}
                _shoot(
                    browser,
                    given.site,
                    path,
                    given.out / name,
                    True,
                    viewport=size,
                    color_scheme=theme,
                )
            return
        for pattern, name in README:
            path = _first(given.site, pattern)
            if path is None:
                print(f"{given.site} has no page {pattern}", file=sys.stderr)
                continue
            size = {"width": 1280, "height": 860}
            _shoot(
                browser,
                given.site,
                path,
                given.out / name,
                False,
                viewport=size,
                device_scale_factor=1,
            )


if __name__ == "__main__":
    main()
