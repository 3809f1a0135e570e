"""Private names of other packages that xbench uses are listed here: any release may rename or remove them."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import xbench

ROOT = Path(xbench.__file__).parent
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

# (file, name) of each use, by the package whose name it is. Prefer a public name; where there is none, add a line here.
USES = {
    "captum": {
        ("methods/gradients.py", "captum.attr._core.deep_lift"),
        ("methods/perturbation.py", "captum._utils.models.linear_model.SkLearnLasso"),
    },
    "sacrebleu": {
        ("metrics/quality.py", "_compute_score_from_stats"),
        ("metrics/quality.py", "_extract_corpus_statistics"),
    },
    "torch": {
        ("models/device.py", "_is_amx_tile_supported"),
        ("models/device.py", "_is_avx512_bf16_supported"),
        # Modules whose errors mean that compiling failed; where they move, such an error is no longer caught.
        ("models/device.py", "torch._dynamo"),
        ("models/device.py", "torch._inductor"),
        ("hiding/twin.py", "_modules"),
        ("methods/isolation.py", "_lazy_clone"),
        ("models/network_look.py", "_global_mapping"),
        ("models/network_look.py", "_version"),
        # Modes that are begun and not left, of which torch tells nobody in public.
        ("process_settings.py", "torch.utils._python_dispatch"),
        ("process_settings.py", "_get_current_function_mode_stack"),
        ("process_settings.py", "_get_current_dispatch_mode_stack"),
        ("process_settings.py", "_push_mode"),
        ("process_settings.py", "_pop_mode"),
        # Kernels that were replaced, of which torch tells nobody in public.
        ("process_settings.py", "_impls"),
        ("process_settings.py", "_op_impls"),
        ("process_settings.py", "_destroy"),
        # What is done with tensors that are kept for gradients.
        ("process_settings.py", "_C"),
        ("process_settings.py", "_autograd"),
        ("process_settings.py", "_top_saved_tensors_default_hooks"),
        ("process_settings.py", "_push_saved_tensors_default_hooks"),
        ("process_settings.py", "_pop_saved_tensors_default_hooks"),
        ("testing/state.py", "_global_"),
    },
}
# All private names of transformers stand in this one module, which says of each what to do when it goes.
# Python's own that it documents in spite of their underscore.
DOCUMENTED = {("surroundings.py", "_current_frames"), ("cli/__init__.py", "_exit")}
TRANSFORMERS_MODULE = "models/private.py"
LISTED = set().union(DOCUMENTED, *USES.values())

PRIVATE = re.compile(r"_[A-Za-z]\w*")
OURS = {"_citation.cff", "_leaderboard", "_methods", "_tasks"}  # in the wheel


def private_names(source: str) -> Iterator[str]:
    """Yield private names of others: imported, taken from anything but self, or written as a string (for getattr)."""
    nodes = list(ast.walk(ast.parse(source)))
    ours = {node.name for node in nodes if isinstance(node, ast.FunctionDef)} | OURS
    in_texts = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            names = [] if of_self else [node.attr]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [] if node in in_texts else [node.value]
        for name in names:
            parts = () if name in ours or name.startswith("xbench.") else name.split(".")
            if any(PRIVATE.fullmatch(part) for part in parts):
                yield name


@pytest.fixture(scope="module")
def found() -> set[tuple[str, str]]:
    return {
        (path.relative_to(ROOT).as_posix(), name)
        for path in ROOT.rglob("*.py")
        for name in private_names(path.read_text("utf-8"))
    }


def test_no_private_name_of_others_beyond_those_listed(found: set[tuple[str, str]]) -> None:
    assert {use for use in found - LISTED if use[0] != TRANSFORMERS_MODULE} == set()


def test_no_listed_name_that_is_no_longer_used(found: set[tuple[str, str]]) -> None:
    assert LISTED - found == set()


@pytest.mark.parametrize("package", [*USES, "transformers"])
def test_a_package_with_private_names_in_use_has_an_upper_bound(package: str) -> None:
    dependencies = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["dependencies"]
    (requirement,) = (r for r in map(Requirement, dependencies) if r.name == package)
    assert [s.operator for s in requirement.specifier if s.operator.startswith("<")]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import captum._utils", "captum._utils"),
        ("from torch.nn import _reduction", "torch.nn._reduction"),
        ("def f():\n    from torch._C import parse_schema", "torch._C.parse_schema"),
        ("network.config._commit_hash", "_commit_hash"),
        ("module._modules['a'] = other", "_modules"),
        ("getattr(config, '_attn_implementation', None)", "_attn_implementation"),
        ("self.network._modules", "_modules"),
    ],
)
def test_private_names_are_seen(source: str, name: str) -> None:
    assert list(private_names(source)) == [name]


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations",
        "from xbench.cli import _app",
        "self._shown",
        "type(x).__name__",
        "for _ in x: '_'",
        "'a _sentence_'",
        "folder / '_tasks'",
        "f'{split}_covost'",
        "def _count(self):\n    other._count = self._count",
    ],
)
def test_other_names_are_not(source: str) -> None:
    assert list(private_names(source)) == []
