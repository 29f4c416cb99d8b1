"""The house: rooms in the notebooks' order, imports that run one way, files and functions that fit on a page or two."""

import ast
import importlib
from pathlib import Path

import pytest

from lib.common.bundled import ROOT

# A file may import from its own room and from the rooms before it.
ORDER = ("common", "params", "kernels", "embedder", "generate", "inspect", "train", "score", "influence", "predict",
         "figures", "grid", "notebook", "__main__")  # fmt: skip
LIB = ROOT / "lib"
FILES = sorted(path for path in LIB.rglob("*.py") if path != LIB / "__init__.py")
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def room(path: Path) -> str:
    return path.relative_to(LIB).parts[0].removesuffix(".py")


def imported(path: Path) -> set[Path]:
    """Every file of lib that a file imports, inside functions too; what only type checkers read does not count."""
    tree, hidden = TREES[path], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            hidden |= {id(child) for child in ast.walk(node)}
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in hidden and (node.module or "").startswith("lib"):
            names |= {name if file_of(name := f"{node.module}.{alias.name}") else node.module for alias in node.names}
        elif isinstance(node, ast.Import) and id(node) not in hidden:
            names |= {alias.name for alias in node.names if alias.name.startswith("lib.")}
    return {other for name in names if (other := file_of(name))} - {path}


def file_of(name: str) -> Path | None:
    """The file of a dotted module name, None where there is no such module."""
    place = ROOT / name.replace(".", "/")
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path in TREES), None)


def test_every_room_has_its_place():
    assert {room(path) for path in FILES} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(LIB).as_posix())
def test_imports_run_one_way(path):
    up = [other for other in imported(path) if ORDER.index(room(other)) > ORDER.index(room(path))]
    assert not up, f"{path.name} imports from a later room: {[other.name for other in up]}"


def test_no_file_imports_itself_through_others():
    open_, left = {path: imported(path) for path in FILES}, set(FILES)
    while ready := {path for path in left if not open_[path] & left}:
        left -= ready
    assert not left, f"these files import each other in a circle: {sorted(path.name for path in left)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(LIB).as_posix())
def test_files_are_short_and_documented(path):
    tree = TREES[path]
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250, "a file that long is two"
    assert ast.get_docstring(tree), "a module says what it is for"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} says nothing about itself"
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef):
                body = inner.end_lineno - inner.lineno + 1 - len((ast.get_docstring(inner) or "").splitlines())
                assert body <= 50, f"{inner.name} is {body} lines long"


def test_the_names_that_people_build_on():
    block = (
        (ROOT / "docs" / "code.md").read_text(encoding="utf-8").split("What other code may build on")[1].split("```")[1]
    )
    names = [node for node in ast.parse(block.removeprefix("python")).body if isinstance(node, ast.ImportFrom)]
    assert len(names) > 5
    for node in names:
        module = importlib.import_module(node.module)
        assert all(getattr(module, alias.name).__doc__ for alias in node.names)


def test_the_page_of_the_code_lists_the_rooms_in_their_order():
    tree = (ROOT / "docs" / "code.md").read_text(encoding="utf-8").split("lib/          one room")[1].split("```")[0]
    listed = [line.split()[0].rstrip("/") for line in tree.splitlines()[1:] if line.startswith("  ")]
    assert listed == [*(name for name in ORDER if name != "__main__"), "data"]
