"""What every page is: where it lies, its template, and fields under the names that the template uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Page:
    """One page. path: where it lies below the folder of the site."""

    template: ClassVar[str]

    path: str
