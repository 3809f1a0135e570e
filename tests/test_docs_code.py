"""The code in docs/write-a-*.md is what it says: it is written to files, installed, and run as the page runs it.

Blocks of a page, in order:

- A block after a line that ends in "`path`:" is the file of that path.
- Another ```python block is run in the folder of those files.
- A ```console block holds commands: `pip install pytest -e .` registers the package, `python -m pytest` calls its
  tests, and every `xbench` command must end with exit code 0.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import xbench
from command_line import Run
from xbench import registry

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("write-a-*.md"))
CLIPS = Path(xbench.__file__).parent / "demo" / "audio"
# What a page takes for granted: recordings of the reader's own.
RECORDINGS = {"write-a-task": "recordings", "write-a-corpus": "ROOT/audio"}


@dataclass(frozen=True)
class Block:
    """A fenced block. path: the file it is; empty where it is none."""

    language: str
    path: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = re.finditer(
        r"(?:`(?P<path>[\w./-]+\.[a-z]+)`[^`]*?:\n\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
        page.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    return [Block(m["language"], m["path"] or "", m["text"]) for m in found]


@dataclass(frozen=True)
class Package:
    """The folder in which a reader follows a page."""

    folder: Path
    run: Run

    def follow(self, block: Block) -> None:
        if block.path:
            file = self.folder / block.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, "page", "exec"), {})
        else:
            assert block.language == "console", block
            for line in block.text.splitlines():
                self.command(line)

    def command(self, line: str) -> None:
        assert line.startswith("$ "), line
        words = shlex.split(line.removeprefix("$ "))
        if words == ["pip", "install", "pytest", "-e", "."]:
            self.install()
        elif words == ["python", "-m", "pytest"]:
            self.test()
        else:
            assert words[0] == "xbench", line
            done = self.run(*words[1:])
            assert done.code == 0, f"{line}\n{done.out}\n{done.err}"

    def install(self) -> None:
        """Write the metadata that pip would write; the folder is on the path already."""
        project = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]
        info = self.folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        sections = [
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
            for group, points in project["entry-points"].items()
        ]
        (info / "entry_points.txt").write_text("\n".join(sections))
        importlib.invalidate_caches()
        registry._load.cache_clear()

    def test(self) -> None:
        """Call the package's tests."""
        called = 0
        for file in sorted((self.folder / "tests").glob("test_*.py")):
            spec = importlib.util.spec_from_file_location(file.stem, file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            for name, test in inspect.getmembers(module, inspect.isfunction):
                if name.startswith("test_"):
                    test()
                    called += 1
        assert called


@pytest.fixture
def package(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XBENCH_CACHE", str(tmp_path / "cache"))
    before = set(sys.modules)
    yield Package(tmp_path, run)
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(tmp_path):
            del sys.modules[name]
    registry._load.cache_clear()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_page_says_works(page: Path, package: Package) -> None:
    if place := RECORDINGS.get(page.stem):
        (package.folder / place).mkdir(parents=True)
        for name, clip in (("one", "en-0001"), ("two", "en-0002")):
            shutil.copy(CLIPS / f"{clip}.flac", package.folder / place / f"{name}.flac")
    for block in blocks(page):
        package.follow(block)


SECTIONS = (
    *("What you need to know", "The example", "What the contract checks"),
    *("What goes wrong most often", "Where to look next"),
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_has_the_same_sections_and_commands(page: Path) -> None:
    assert tuple(re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)) == SECTIONS
    console = "".join(block.text for block in blocks(page) if block.language == "console")
    assert "$ xbench eval " in console


def test_there_is_a_page_for_whatever_can_be_registered() -> None:
    pages = {"models": "model-family", "datasets": "corpus"}
    kinds = [group.group.removeprefix("xbench.") for group in registry.ALL]
    wanted = {f"write-a-{pages.get(kind, kind.removesuffix('s'))}" for kind in kinds}
    assert {page.stem for page in PAGES} == wanted
