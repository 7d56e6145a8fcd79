"""`prefgen push`: publish a finished data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push(
    out: Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN")],
    repository: Annotated[str, typer.Argument(metavar="USER/NAME", help="Data set on the Hugging Face Hub.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it; it is private otherwise.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be uploaded, and stop.")] = False,
) -> None:
    """Check a run, then upload it to the Hugging Face Hub.

    Needs a token (`hf auth login`, or HF_TOKEN). A push that was cut off is continued by the same command. Before
    --public, mind the licence of the images and texts, and paths of your machine in the card and in .prefgen.

    Example: prefgen push out me/my-pairs --dry-run
    """
    from prefgen.card import push as pushing

    parcel = pushing.package(out, repository)
    typer.echo(f"{len(parcel.files):,} files, {parcel.size:,} bytes, {'public' if public else 'private'}", err=True)
    if dry_run:
        for path in parcel.files:
            typer.echo(path)
        return
    typer.echo(pushing.push(parcel, public=public))
