"""`prefgen eval`: what a model says of pictures whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig

_BESIDE = Path(__file__).parents[2] / "examples" / "scenes"
_ROWS = (
    "chair_i",
    "chair_s",
    "object_recall",
    "partner_hallucination",
    "yes_no/accuracy",
    "caption_words",
    "caption_sentences",
)


def evaluate(
    suite: Annotated[str, typer.Argument(help="What it is asked about: scenes.")],
    model: Annotated[str, o.model("--model", "-m", help="Model to measure: folder or Hub id.")],
    scenes: Annotated[Path, o.data("--scenes", help="Folder examples/scenes of prefgen's repository.")] = _BESIDE,
    limit: Annotated[int, o.data("--limit", help="Use the first N of the 600 held-out scenes.")] = 600,
    base_model: o.BaseModel = EngineConfig.base_model,
    device: o.Device = EngineConfig.device,
    batch_size: Annotated[int, o.model("--batch-size", help="Questions of a batch.")] = 64,
    seed: Annotated[int, o.run("--seed", help="Seeds the bootstrap.")] = 0,
    json: Annotated[bool, o.run("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Measure hallucination on pictures whose truth is known.

    CHAIR, recall, yes/no accuracy and caption length on drawn scenes, with 95% bootstrap intervals. Read CHAIR with
    recall and length: who says less invents less.

    Example: prefgen eval scenes --model aligned
    """
    import sys

    from rich.console import Console
    from rich.table import Table

    from prefgen.engines import build
    from prefgen.engines.hf.loading import load
    from prefgen.errors import UsageError
    from prefgen.requests import Generate

    if suite != "scenes":
        raise UsageError(f"there is no suite {suite!r}; choose scenes")
    if not (scenes / "evaluate.py").exists():
        raise UsageError(f"{scenes} holds no evaluate.py: clone prefgen's repository and give --scenes examples/scenes")
    if not 1 <= limit <= 600:
        raise UsageError(f"--limit {limit} must be between 1 and 600")
    sys.path.insert(0, str(scenes.resolve()))  # its modules are scripts of the repository, not of the package
    import evaluate as scenes_
    from scenes import heldout

    config = EngineConfig(model, base_model=base_model, device=device, dtype="float32")
    build.hush(config, (Generate,))
    loaded = load(config)
    figures = scenes_.evaluate(scenes_.responder(loaded.model, loaded.processor, batch_size), heldout(limit), seed)
    if json:
        typer.echo(scenes_.as_json(figures))
        return
    table: Table = scenes_.as_table({name: figures[name] for name in _ROWS}, f"{limit} scenes")
    Console().print(table)
