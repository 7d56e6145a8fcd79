"""`prefgen push`: publish a finished data set, or copy it to an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.addresses import is_address, public
from prefgen.errors import UsageError


def push(
    out: Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="USER/NAME on the Hugging Face Hub, or s3://bucket/path, gs://…")
    ],
    public_: Annotated[bool, typer.Option("--public", help="Let everybody see it; it is private otherwise.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be uploaded, and stop.")] = False,
) -> None:
    """Check a run, then upload it to the Hugging Face Hub or copy it to an object store.

    The Hub needs a token (`hf auth login`, or HF_TOKEN), a store its own credentials in the environment. A push that
    was cut off is continued by the same command. Before --public, mind the licence of the images and texts, and paths
    of your machine in the card and in .prefgen.

    Example: prefgen push out me/my-pairs --dry-run
    """
    if is_address(target):
        if public_:
            raise UsageError("--public is for the Hub; who may read an object store is set there")
        _to_store(out, target, dry_run=dry_run)
        return
    from prefgen.card import push as pushing

    parcel = pushing.package(out, target)
    typer.echo(f"{len(parcel.files):,} files, {parcel.size:,} bytes, {'public' if public_ else 'private'}", err=True)
    if dry_run:
        for path in parcel.files:
            typer.echo(path)
        return
    typer.echo(pushing.push(parcel, public=public_))


def _to_store(out: Path, address: str, *, dry_run: bool) -> None:
    from prefgen.card import push_store as pushing

    parcel = pushing.store_package(out, address)
    typer.echo(f"{len(parcel.files):,} files, {parcel.size:,} bytes", err=True)
    if dry_run:
        for path in parcel.files:
            typer.echo(path)
        return
    copied = pushing.push_store(parcel)
    typer.echo(f"{copied.sent:,} files sent, {copied.kept:,} were there; all compared by digest", err=True)
    typer.echo(public(parcel.address))
