"""The list of all formats: SFT rows, imports and exports."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import dataclass
from difflib import get_close_matches

from prefgen.errors import UsageError
from prefgen.formats import EXPORTERS, IMPORTERS
from prefgen.sources.shapes import FILES, SHAPES, RowShape

READ, IMPORTED, WRITTEN = "SFT rows, read by --input", "preferences, read by import", "written by export --to"
_SHORT = 100


@dataclass(frozen=True)
class FormatEntry:
    """A format in the list.

    Attributes:
        use: `READ`, `IMPORTED` or `WRITTEN`.
        example: a row as it is written down, or as many as it takes.
        text: its docstring, or for SFT rows the title, the files and the example.
    """

    name: str
    use: str
    title: str
    example: str
    text: str

    @property
    def short(self) -> str:
        """The first characters of the example, on one line."""
        line = " ".join(self.example.split())
        return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"


def formats() -> list[FormatEntry]:
    """Every format, in the order of the registries."""
    importers = {name: sys.modules[kind.__module__].__doc__ for name, kind in IMPORTERS.items()}
    exporters = {name: exporter.write.__doc__ for name, exporter in EXPORTERS.items()}
    imported = [_documented(name, IMPORTED, doc) for name, doc in importers.items()]
    examples = {entry.name: entry.example for entry in imported}  # an importer reads what its exporter writes
    return [
        *(
            FormatEntry(name, READ, shape.title, json.dumps(shape.example), _described(shape))
            for name, shape in SHAPES.items()
        ),
        *imported,
        *(_documented(name, WRITTEN, doc, examples.get(name, "")) for name, doc in exporters.items()),
    ]


def named(name: str) -> list[FormatEntry]:
    """The formats of this name: an import and an export of one name are two.

    Raises:
        UsageError: there is none.
    """
    known = formats()
    found = [entry for entry in known if entry.name == name]
    if not found:
        raise UsageError(unknown(f"no format {name!r}", name, [entry.name for entry in known]))
    return found


def unknown(problem: str, name: str, known: list[str]) -> str:
    """A message about an unknown name, with similar ones first."""
    bare = {other.replace("-", ""): other for other in known}
    close = get_close_matches(name.lower().replace("-", "").replace("_", ""), bare, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(bare[other] for other in close)}?" if close else ""
    return (
        f"{problem}{hint} Known: {', '.join(dict.fromkeys(known))}" if hint else f"{problem}; known: {', '.join(known)}"
    )


def blocks(doc: str) -> list[str]:
    """The literal blocks of a docstring, each indented after a ``::``."""
    found: list[str] = []
    marked = False
    for paragraph in inspect.cleandoc(doc).split("\n\n"):
        if marked and paragraph.startswith(" "):
            found.append(inspect.cleandoc("\n" + paragraph))
        marked = paragraph.endswith("::")
    return found


def _described(shape: RowShape) -> str:
    return f"{shape.title}\n\n{json.dumps(shape.example, indent=2)}\n\nIn {FILES}.\n"


def _documented(name: str, use: str, doc: str | None, example: str = "") -> FormatEntry:
    text = inspect.cleandoc(doc or "")
    example = next((block for block in blocks(text) if block[:1] in ("{", "[")), example)
    plain = text.replace("\n\n::\n", "\n").replace("::\n", ":\n").replace("``", "")
    return FormatEntry(name, use, plain.splitlines()[0], example, plain + "\n")
