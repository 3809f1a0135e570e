"""A small picture per method that others can show on their own pages: where the method stands."""

from __future__ import annotations

from markupsafe import escape

from xbench.site.charts import number
from xbench.site.overall import Overall, Standing
from xbench.site.tables.entries import ListedMethod

_LETTER = 6.8  # width in pixels at 11 px, a little more than most fonts take


def badge_text(method: ListedMethod, table: Overall | None) -> str:
    """Return what a badge says: rank and score of the method with its best parameters, on the first score."""
    mine = [s for s in table.standings if s.config.method == method.name] if table else []
    if table is None or not mine:
        return "not ranked"
    best = mine[0]  # standings are sorted, best mean first
    score = f"{table.metric} {number(best.value)}"
    return f"{_place(best)}, {score}" if best.rank is not None else score


def _place(standing: Standing) -> str:
    low, high = standing.rank_low, standing.rank_high
    return f"rank {low}" if low == high else f"rank {low}\N{EN DASH}{high}"


def badge(text: str) -> str:
    """Draw a badge with this text as an SVG file."""
    left = round(_LETTER * len("xbench") + 12)
    right = round(_LETTER * len(text) + 12)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img">'
        f"<title>xbench: {escape(text)}</title>"
        f'<rect width="{left + right}" height="20" rx="3" fill="#0b5cad"/>'
        f'<rect width="{left}" height="20" rx="3" fill="#33383e"/>'
        f'<g fill="#fff" text-anchor="middle" font-family="Verdana,sans-serif" font-size="11">'
        f'<text x="{left / 2:.1f}" y="14">xbench</text>'
        f'<text x="{left + right / 2:.1f}" y="14">{escape(text)}</text></g></svg>\n'
    )
