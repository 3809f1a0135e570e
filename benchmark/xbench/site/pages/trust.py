"""Which column to trust for what: the audit of the metrics themselves."""

from __future__ import annotations

from dataclasses import dataclass

from xbench.site.audited import Audit
from xbench.site.pages.page import Page


@dataclass(frozen=True)
class TrustPage(Page):
    """`trust.html`."""

    template = "trust.html"

    audit: Audit


def trust_page(audit: Audit) -> TrustPage:
    """Return the page of an audit."""
    return TrustPage("trust.html", audit)
