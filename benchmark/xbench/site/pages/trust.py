"""Which column to trust for what: the audit of the metrics themselves, and whether scores foresee uses."""

from __future__ import annotations

from dataclasses import dataclass

from xbench.site.audited import Audit
from xbench.site.pages.page import Page
from xbench.site.useful import Useful


@dataclass(frozen=True)
class TrustPage(Page):
    """`trust.html`."""

    template = "trust.html"

    audit: Audit
    useful: tuple[Useful, ...]


def trust_page(audit: Audit, useful: tuple[Useful, ...]) -> TrustPage:
    """Return the page of an audit, and of what scores foresee."""
    return TrustPage("trust.html", audit, useful)
