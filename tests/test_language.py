"""The first line of every docstring says what the thing is, in plain words."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "prefgen"
RIDDLES = re.compile(
    r"^(What|Who|Where|Whoever|Whatever|Whether|Which|How|Why)\b"
    r"|\b(nobody|anybody|somebody|whoever|thereby|of late|to be had|whichever way|in common)\b"
)


def test_no_docstring_begins_with_a_riddle() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                if RIDDLES.search(first):
                    found.append(f"{path.relative_to(PACKAGE)}: {first}")
    assert found == []
