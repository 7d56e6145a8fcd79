"""`prefgen view`: the viewer of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli.options import run_folder


def view(
    out: Annotated[
        Path,
        typer.Argument(
            help="Folder of a data set, finished or not; address or Hub id.", metavar="RUN", parser=run_folder
        ),
    ],
    static: Annotated[
        Path | None, typer.Option("--static", metavar="FILE", help="Write one HTML file of a sample instead.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of that sample.")] = 24,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to serve at; 0 takes a free one.")] = 0,
    host: Annotated[
        str, typer.Option("--host", help="Address to serve at; 0.0.0.0 lets others in who have the link.")
    ] = "127.0.0.1",
) -> None:
    """Show pairs and their differences in a browser; search and vote.

    Serves all rows to this machine until Ctrl-C; votes go to RUN/.prefgen/votes.csv.

    Example: prefgen view out --static preview.html
    """
    from prefgen import durable
    from prefgen.errors import UsageError
    from prefgen.rundir.layout import Layout
    from prefgen.view import page
    from prefgen.view.server import Server

    if static is not None:
        at = Layout(static.absolute().parent)
        if at.plan.exists() and at.preview.name == static.name:
            raise UsageError(f"--static {static} is a file of a run, which would no longer verify: give another name")
        durable.refuse_foreign(static, page.MARK)
        html = page.preview(out, rows).encode()
        durable.put(static, html)
        typer.echo(f"{static}: {len(html):,} bytes", err=True)
        return
    with Server(out, port, host) as server:
        typer.echo(server.url)
        typer.echo(f"{server.collection.rows:,} pairs; votes go to {server.votes.path}; Ctrl-C ends it", err=True)
        if host in ("127.0.0.1", "localhost"):
            typer.echo(f"from another machine: {server.tunnel}, then open this address there", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("ended", err=True)
