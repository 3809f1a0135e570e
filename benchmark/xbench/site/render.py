"""Templates to HTML: everything escaped, everything undefined an error."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from xbench.results import column_name
from xbench.site import charts
from xbench.site.costs import significant
from xbench.site.languages import languages
from xbench.site.pages.page import Page
from xbench.site.text import linked, setting, told, words

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types xb"
)


def leaderboard_folder() -> Path:
    """Return the templates and assets packed into the wheel, or else the checkout's `leaderboard/`."""
    packed = Path(__file__).parents[1] / "_leaderboard"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "leaderboard"


def allowed_script(template: str) -> str:
    """Return the source by which a content security policy allows the text of this template as an inline script."""
    text = (leaderboard_folder() / "templates" / template).read_bytes()
    return f"sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode('ascii')}"


def environment(site: Mapping[str, Any]) -> Environment:
    """Return where templates are looked up, with the filters and names that all of them know.

    site: what the site says on every page.
    """
    made = Environment(
        loader=FileSystemLoader(leaderboard_folder() / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    made.filters["pair"] = lambda text: (text, text)
    made.filters["words"] = words
    made.filters["breakable"] = lambda label: re.findall(r"[^:,]*[:,]|[^:,]+$", label)
    made.filters["told"] = told
    made.filters["setting"] = setting
    made.filters["languages"] = languages
    made.filters["linked"] = linked
    made.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    made.globals.update(
        num=charts.number,
        short=lambda value: charts.number(value).replace("0.", "."),
        cost=charts.cost,
        significant=significant,
        millions=charts.millions,
        first_ranked=lambda table: next(s.config for s in table.standings if s.rank is not None),
        score_name=lambda of: column_name(of.metric, of.reference),
        query=lambda **keys: urlencode({k: v for k, v in keys.items() if v}),
        ramp=[charts.viridis(step) for step in range(charts.LEVELS)],
        csp=CSP,
        allowed_script=allowed_script,
        **site,
    )
    return made


def renderer(site: Mapping[str, Any], files: Mapping[str, str]) -> Callable[[Page], str]:
    """Return the function from a page to its HTML.

    site: what every template knows. files: plain names of assets and data to their hashed paths.
    """
    templates = environment(site)

    def render(page: Page) -> str:
        root = "../" * page.path.count("/")
        # A host shows this page at any depth, where `../` means nothing.
        if page.path == "404.html" and site["base_url"]:
            root = site["base_url"]
        return templates.get_template(page.template).render(
            {field.name: getattr(page, field.name) for field in fields(page)},
            root=root,
            url=lambda path: root + path,
            asset=lambda name: root + files[f"assets/{name}"],
            data=lambda name: root + files[f"js/{name}"],
        )

    return render
