"""What the code may import, and that the documents say what it says."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "prefgen"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
# A unit (a module, or a folder as a whole) imports only from units of a lower level, and from itself.
LEVELS = [
    {"errors", "records", "seeds", "image_names", "demo", "pipes"},
    {
        "visibility",
        "text",
        "images",
        "reading",
        "addresses",
        "durable",
        "cache",
        "options",
        "option_files",
        "guide",
        "console",
        "signals",
    },
    {"requests", "rundir", "remote"},
    {"methods", "engines", "sources"},
    {"driver", "formats"},
    {"select"},
    {"linting", "training"},
    {"card", "rewards"},
    {"estimate"},
    {"view", "evaluate", "doctor"},
    {"runner"},
    {"api"},
    {"reproduce"},
    {"cli"},
    {"__main__", "__init__"},
]
HEAVY = {"torch", "transformers", "sentence_transformers", "vllm", "ray", "datasets"}


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(name: str) -> int:
    return next(number for number, units in enumerate(LEVELS) if name in units)


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        for name in imported(node):
            parts = name.split(".")
            if parts[0] == "prefgen" and len(parts) > 1 and parts[1] not in ("__version__", unit(path)):
                assert level(parts[1]) < level(unit(path)), f"{path}: {name}"


def test_no_circle_between_files() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}
    reached: dict[str, set[str]] = {}
    for module, path in names.items():
        found = {name for node in ast.walk(ast.parse(path.read_text())) for name in imported(node)}
        below = {name if name in names else name.rpartition(".")[0] for name in found} & set(names)
        reached[module] = below - {module, "prefgen"}
    while free := {module for module, below in reached.items() if not below & set(reached)}:
        reached = {module: below for module, below in reached.items() if module not in free}
    assert sorted(reached) == []


def test_a_word_names_one_class() -> None:
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    several = {name: files for name, files in places.items() if len(files) > 1}
    assert several == {"_Worker": ["engines/hf/preprocessing.py", "runner/local.py"]}  # a process, each for its module


def test_verify_shares_nothing_with_the_writer() -> None:
    names = [
        name for node in ast.walk(ast.parse((PACKAGE / "rundir" / "verify.py").read_text())) for name in imported(node)
    ]
    assert {name for name in names if name.startswith("prefgen")} <= {"prefgen.errors.UsageError"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_by_engines_and_training_alone(path: Path) -> None:
    if unit(path) not in ("engines", "training"):
        top = [name.split(".")[0] for node in ast.parse(path.read_text()).body for name in imported(node)]
        assert not HEAVY & set(top)


def test_consoles_are_those_that_escape_control_characters() -> None:
    for path in MODULES:
        names = [name for node in ast.walk(ast.parse(path.read_text())) for name in imported(node)]
        assert "rich.console.Console" not in names, path
        assert "rich.console" not in names or path == PACKAGE / "console.py", path


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__main__.py"], ids=str)
def test_every_module_imports_and_has_a_docstring(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if path.parts[-2:] == ("vllm", "draw.py"):
        pytest.importorskip("vllm")  # derives from a class of vLLM's
    assert importlib.import_module(name).__doc__


def reasons_in_code() -> set[str]:
    """Reason codes: first arguments of `RowError`, `Dropped` and what ends in either."""
    found: set[str] = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    prefixes = "IMG_|TEXT_|SERVER_|URL_|PATH_|JSON_|ROW_|ANSWER_|SENTENCE_|REJECTED_|REPLY_|API_|OUT_OF_|DUPLICATE$"
    return {code for code in found if re.fullmatch(r"[A-Z][A-Z0-9_]+", code) and re.match(prefixes, code)}


def test_guide_explains_every_reason_for_which_a_row_is_dropped() -> None:
    table = (PACKAGE / "guide" / "data-in.md").read_text().partition("## Reason codes")[2]
    explained = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", table))
    assert reasons_in_code() - explained == set()
    assert {code for code in explained - reasons_in_code() if "_" in code} == set()


def test_guide_shows_a_true_tree() -> None:
    tree = (PACKAGE / "guide" / "code.md").read_text().partition("```")[2].partition("```")[0]
    for name in re.findall(r"\b([a-z_]+\.py|[a-z]+/)", tree):
        assert list(PACKAGE.glob(f"**/{name}")) or (ROOT / name).exists(), name


def test_readme_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert len(links) > 5
