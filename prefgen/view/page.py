"""The viewer's page, as one self-contained HTML file.

Nothing that comes from data is ever markup: rows travel as JSON in a block that no script engine runs and are put on
the page as text nodes, everything else goes through Jinja's escaping, and the policy in the page's head forbids every
script and style but ours, by digest.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from prefgen import durable
from prefgen.card import summary
from prefgen.errors import UsageError
from prefgen.rundir.layout import Layout
from prefgen.view.collection import SORTS, Collection
from prefgen.view.plots import plots
from prefgen.view.present import picture, present

SAMPLE_ROWS = 24
MARK = b"prefgen view"  # in the head of every page
_SIDE = 320  # pixels of a picture in the static page
_CHOICES_MAX = 200
_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("source.js", "cards.js", "page.js")


@dataclass(frozen=True)
class Page:
    """HTML with its content security policy."""

    html: str
    policy: str


def write(out: Path, file: Path, rows: int) -> int:
    """Write a page of a sample; returns its size in bytes.

    Raises:
        UsageError: there are no pairs in `out`, or the file is a run's, or one that this did not write.
    """
    at = Layout(file.absolute().parent)
    if at.plan.exists() and at.preview.name == file.name:
        raise UsageError(f"--static {file} is a file of a run, which would no longer verify: give another name")
    durable.refuse_foreign(file, MARK)
    html = preview(out, rows).encode()
    durable.put(file, html)
    return len(html)


def preview(out: Path, rows: int = SAMPLE_ROWS) -> str:
    """A page of `rows` rows at even distances, with their pictures.

    Raises:
        UsageError: if there are no pairs in `out`.
    """
    collection = Collection(out)

    def address(position: int, place: int, noisy: bool) -> str:
        content = picture(collection, position, place, noisy=noisy, side=_SIDE)
        return f"data:image/webp;base64,{base64.b64encode(content).decode()}"

    positions = np.linspace(0, collection.rows - 1, min(rows, collection.rows)).round().astype(int).tolist()
    shown = [present(collection, position, address) for position in positions]
    return render(out, collection, {"live": False, "rows": shown}).html


def render(out: Path, collection: Collection, data: Mapping[str, Any]) -> Page:
    """The page over `data`, whose form is described in ``assets/source.js``."""
    live = bool(data["live"])
    style = _asset("view.css")
    scripts = [_asset(name) for name in _SCRIPTS]
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data: 'self'" if live else "img-src data:",
            *(["connect-src 'self'"] if live else []),
            f"style-src {_digest(style)}",
            f"script-src {' '.join(map(_digest, scripts))}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS), autoescape=True, undefined=jinja2.StrictUndefined
    )
    html = environment.get_template("page.html.j2").render(
        name=out.resolve().name,
        total=collection.rows,
        sample=None if live else len(data["rows"]),
        policy=policy,
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        plots=plots(collection, _figure10(out, collection)),
        data=Markup(_inert_json({**data, "total": collection.rows})),
        flags=collection.flags,
        methods=collection.methods,
        iterations=collection.iterations,
        sources=_choices(collection.sources),
        licences=_choices(collection.licences),
        sorts=SORTS,
    )
    return Page(html, policy)


def _choices(values: list[str]) -> list[str]:
    """Values of a selection list, if there are some and not too many."""
    named = [value for value in values if value]
    return named if len(values) > 1 and len(named) <= _CHOICES_MAX else []


def _figure10(out: Path, collection: Collection) -> tuple[float, ...]:
    """Figure 10, which needs the run's plan; empty for a data set without it."""
    if not Layout(out).plan.exists():
        return ()
    columns = (collection.index[name].chunks for name in ("iteration", "similarity"))
    return summary.figure10(Layout(out), *columns)


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _inert_json(value: object) -> str:
    """ASCII JSON that cannot end its script block."""
    return json.dumps(value).translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&"})
