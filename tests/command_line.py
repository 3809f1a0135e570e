"""The command line, called in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from xbench import cli
from xbench.cli import console


class Done(NamedTuple):
    """Exit code, output and errors."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function from arguments to what `xbench` did."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["xbench", *map(str, arguments)])
        monkeypatch.setattr(console.out, "width", 110)  # whatever terminal the tests run in
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return Done(int(stop.value.code or 0), captured.out, captured.err)

    return run
