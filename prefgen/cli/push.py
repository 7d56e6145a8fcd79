"""`prefgen push`: publish a finished data set, or copy it to an object store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from prefgen.addresses import is_address, public
from prefgen.cli.params import command
from prefgen.errors import UsageError
from prefgen.options import option


@dataclass(frozen=True)
class PushOptions:
    """Visibility of an upload, or its list alone."""

    public: bool = option(False, help="Let everybody see it; it is private otherwise.", panel=None)
    dry_run: bool = option(False, help="List what would be uploaded, and stop.", panel=None)


@command
def push(
    out: Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="USER/NAME on the Hugging Face Hub, or s3://bucket/path, gs://…")
    ],
    options: PushOptions,
) -> None:
    """Check a run, then upload it to the Hub or copy it to an object store.

    The Hub needs a token (`hf auth login`, or HF_TOKEN), a store its own credentials in the environment. A push that
    was cut off is continued by the same command. Before --public, mind the licence of the images and texts, and paths
    of your machine in the card and in .prefgen.

    Example: prefgen push out me/my-pairs --dry-run
    """
    from prefgen.card import push as hub
    from prefgen.card import push_store as store

    to_store = is_address(target)
    if to_store and options.public:
        raise UsageError("--public is for the Hub; who may read an object store is set there")
    parcel = store.store_package(out, target) if to_store else hub.package(out, target)
    visible = "" if to_store else ", public" if options.public else ", private"
    typer.echo(f"{len(parcel.files):,} files, {parcel.size:,} bytes{visible}", err=True)
    if options.dry_run:
        for path in parcel.files:
            typer.echo(path)
    elif isinstance(parcel, hub.Package):
        typer.echo(hub.push(parcel, public=options.public))
    else:
        copied = store.push_store(parcel)
        typer.echo(f"{copied.sent:,} files sent, {copied.kept:,} were there; all compared by digest", err=True)
        typer.echo(public(parcel.address))
