"""`prefgen view`: the viewer of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from prefgen.cli import options as o
from prefgen.cli.params import command
from prefgen.options import check, option


@dataclass(frozen=True)
class ViewOptions:
    """Address of the served page, or file of a static one."""

    static: Path | None = option(None, help="Write one HTML file of a sample instead.", panel=None, metavar="FILE")
    rows: int = option(24, help="Rows of that sample.", panel=None, low=1)
    port: int = option(0, help="Port to serve at; 0 takes a free one.", panel=None, low=0, high=65535)
    host: str = option("127.0.0.1", help="Address to serve at; 0.0.0.0 lets others in who have the link.", panel=None)

    def __post_init__(self) -> None:
        check(self)


@command
def view(out: o.DataSet, options: ViewOptions) -> None:
    """Show pairs and their differences in a browser; search and vote.

    Serves all rows to this machine until Ctrl-C; votes go to RUN/.prefgen/votes.csv.

    Example: prefgen view out --static preview.html
    """
    from prefgen.view import page
    from prefgen.view.server import Server

    if options.static is not None:
        typer.echo(f"{options.static}: {page.write(out, options.static, options.rows):,} bytes", err=True)
        return
    with Server(out, options.port, options.host) as server:
        typer.echo(server.url)
        typer.echo(f"{server.collection.rows:,} pairs; votes go to {server.votes.path}; Ctrl-C ends it", err=True)
        if options.host in ("127.0.0.1", "localhost"):
            typer.echo(f"from another machine: {server.tunnel}, then open this address there", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("ended", err=True)
