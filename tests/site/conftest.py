"""One site that all tests of this folder look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sites import some_results
from synthetic import write

from xbench.claims import Findings
from xbench.site import load
from xbench.site.build import build


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of 44 results, for tests that only look; the results lie beside it."""
    folder = tmp_path_factory.mktemp("site")
    build([write(folder / "results", some_results())], folder / "out")
    return folder / "out"


@pytest.fixture(scope="module", autouse=True)
def taken_as_stated() -> Iterator[None]:
    """Take every result as true: most tests here are about what is shown, whatever it is.

    `tests/site/test_site_load.py` is about what is let in, and has a fixture of this name that lets them be examined.
    """
    nothing = Findings((), (), ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "examine_all", lambda results, _: [nothing] * len(results))
        yield
