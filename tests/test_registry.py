from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from installed_plugin import DESCRIPTION, Install, plugin
from xbench import registry
from xbench.cli import listing
from xbench.description import load_object
from xbench.errors import UnknownName, UsageError
from xbench.spec import Call


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    registry._load.cache_clear()


def test_built_ins_come_through_entry_points() -> None:
    entry = registry.methods.entry("mean-heads")
    assert (entry.distribution, entry.error) == ("xbench", None)
    assert {"raw-attention", "mean-heads", "mean-layers", "uniform", "random", "diagonal"} <= set(
        registry.methods.names()
    )
    assert list(registry.references.names()) == [
        *("spes-audio", "spes-encoder", "spes-encoder-contrast", "spes-encoder-drop"),
        *("spes-encoder-removed", "spes-encoder-words"),
        *("spes-input", "spes-input-contrast", "spes-input-words"),
    ]
    for group in registry.ALL:
        assert all(entry.error is None for entry in group.entries())


def test_a_plugin_is_found_beside_the_built_ins(install: Install) -> None:
    plugin(install, "their-plugin", "their_module", "loudness")
    assert registry.methods.get("loudness").version == "7"
    assert registry.methods.get("their-plugin:loudness") is registry.methods.get("loudness")
    entry = registry.methods.entry("loudness")
    assert (entry.distribution, entry.distribution_version) == ("their-plugin", "2.5")
    assert "mean-heads" in registry.methods.names()


def test_plugins_are_listed_by_the_name_that_calls_them(install: Install, tmp_path: Path) -> None:
    plugin(install, "their-plugin", "their_module", "mean-heads")
    points = tmp_path / "their_plugin-2.5.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "[xbench.metods]\nloudness = their_module:METHOD\n")
    listed = listing.rows("plugins", ["plugins"])
    rows = {row["name"]: row for row in listed if "their" in row["distribution"]}
    assert "'their-plugin:mean-heads'" in rows["mean-heads"]["state"]
    assert registry.methods.get("their-plugin:mean-heads").version == "7"
    assert "did you mean 'xbench.methods'" in rows["loudness"]["state"]


def test_two_plugins_of_one_name_must_be_addressed_by_distribution(install: Install) -> None:
    plugin(install, "first-plugin", "first_module", "loudness")
    plugin(install, "second-plugin", "second_module", "loudness")
    with pytest.raises(UsageError, match="'first-plugin:loudness' or 'second-plugin:loudness'"):
        registry.methods.get("loudness")
    assert registry.methods.get("second-plugin:loudness").implementation == "second_module:run"
    description, call = registry.methods.resolve(Call("first-plugin:loudness"))
    assert description.implementation == "first_module:run"
    assert call.name == "first-plugin:loudness", "the resolved call must still say which plugin"


def test_a_plugin_that_takes_a_built_in_name_changes_nothing_of_ours(install: Install) -> None:
    plugin(install, "rival", "rival_module", "mean-heads")
    for name in ("mean-heads", "xbench:mean-heads"):
        description, call = registry.methods.resolve(Call(name))
        assert (description.version, call.name) == ("1", "mean-heads")
    description, call = registry.methods.resolve(Call("rival:mean-heads"))
    assert (description.version, call.name) == ("7", "rival:mean-heads")


def spoiled(owner: str, field: str, value: object) -> str:
    """Return a plugin with a wrong field: set past the constructor, which checks types while tests run."""
    description = DESCRIPTION.format(name="METHOD", method="loudness", module="x").replace(
        "distribution=True", 'distribution=True, parameters=(Parameter("width", "int", "frames"),)'
    )
    code = f"object.__setattr__({owner}, {field!r}, {value!r})"
    return f"from xbench.description import Parameter\n{description}\n{code}"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two"),
        ("OTHER = 1", "AttributeError"),
        ("METHOD = 5", "is a int, not a MethodDescription"),
        (
            DESCRIPTION.format(name="METHOD", method="other", module="x"),
            "calls itself 'other', its entry point 'loudness'",
        ),
        ("import sys\nprint('hello')\nsys.exit('no')", "SystemExit: no"),
        ("raise MemoryError", "MemoryError"),
        (
            "class Panic(BaseException): ...\nraise Panic('of another language')",
            "Panic: of another",
        ),
        ("class Mute(Exception):\n    __str__ = None\nraise Mute", "Mute"),
        ("raise ValueError('long ' * 1000)", "ValueError: long long"),
        ("import os\nos.chdir('/')\nMETHOD = 5", "changed the working directory"),
        ("import torch\ntorch.set_grad_enabled(False)\nMETHOD = 5", "changed the gradient mode"),
        (spoiled("METHOD", "parameters", ("width",)), "('width',), in it expected Parameter"),
        (spoiled("METHOD", "families", (1,)), "families is (1,), in it expected str"),
        (
            spoiled("METHOD", "needs", frozenset({"encoder-atention"})),
            "needs 'encoder-atention', which does not exist, did you mean 'encoder-attention'",
        ),
        (
            spoiled("METHOD", "kind", "atention"),
            "kind is 'atention', which does not exist, did you",
        ),
        (spoiled("METHOD", "version", 7), "version is 7, expected str"),
        (spoiled("METHOD", "implementation", "x.run"), "'x.run', expected 'module:object'"),
        (
            spoiled("METHOD.parameters[0]", "type", "integer"),
            "parameter 'width': type is 'integer', which does not exist",
        ),
    ],
)
def test_a_broken_plugin_is_a_row_and_an_error_only_where_it_is_used(
    install: Install, code: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install("broken-plugin", "broken_module", {"loudness": "broken_module:METHOD"}, code)
    entry = registry.methods.entry("loudness")
    assert entry.description is None
    assert reason in (entry.error or "")
    assert "\n" not in (entry.error or "")
    assert len(entry.error or "") < 500
    assert "loudness" not in registry.methods.names()
    assert registry.methods.get("mean-heads").name == "mean-heads"
    with pytest.raises(UsageError, match=r"of plugin broken-plugin 2\.5 does not load"):
        registry.methods.get("loudness")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("group", "name", "message"),
    [
        ("methods", "mean-head", "unknown method 'mean-head', did you mean 'mean-heads'"),
        ("references", "spes-encodr", "did you mean 'spes-encoder'"),
        ("metrics", "pearsn", "'pearson'"),
        ("methods", "xbench:mean-head", "'mean-heads'"),
        ("methods", "elsewhere:mean-heads", "unknown method 'elsewhere:mean-heads'"),
        ("methods", "qqqq", "unknown method 'qqqq'; see `xbench list methods`"),
    ],
)
def test_unknown_names_offer_the_nearest(group: str, name: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        getattr(registry, group).get(name)


def test_resolving_checks_parameters() -> None:
    _, call = registry.methods.resolve(Call.parse("raw-attention:layer=1,head=0"))
    assert call.given == {"layer": 1, "head": 0}
    with pytest.raises(UsageError, match="'layer' is required"):
        registry.methods.resolve(Call("raw-attention"))


def test_every_function_that_a_built_in_names_is_there() -> None:
    """Descriptions name functions as text, so only this notices one that was moved or renamed."""
    named = [
        value
        for group in registry.ALL
        for description in group.descriptions()
        for value in vars(description).values()
        if isinstance(value, str) and re.fullmatch(r"xbench[\w.]+:\w+", value)
    ]
    assert len(named) > 60
    assert all(callable(load_object(path)) for path in named)
