"""Configuration files: TOML or YAML, below the command line in precedence, written back with the run."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import typer

from prefgen.addresses import redact
from prefgen.cli.renamed import keys, note
from prefgen.errors import UsageError
from prefgen.option_files import check_keys, read, suggestion

# Options that are about this invocation, not about the run.
_NOT_CONFIGURABLE = ("config_file", "help", "json", "quiet", "dry_run", "list_", "runs", "shard", "workers", "ray")


def load_callback(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make a file's values the defaults of this command; the command line takes precedence."""
    if path is not None:
        values = check_keys(_current(read(path), keys(ctx)), _options(ctx), path)
        preset = values.get("preset")
        ctx.default_map = {**(preset_values(str(preset)) if preset else {}), **values, **(ctx.default_map or {})}
    return path


def preset_callback(ctx: typer.Context, name: str | None) -> str | None:
    """Make a preset's values the defaults of this command, above those of a configuration file."""
    if name is not None and is_given(ctx, "preset"):
        ctx.default_map = {**(ctx.default_map or {}), **preset_values(name)}
    return name


def is_given(ctx: typer.Context, name: str) -> bool:
    """True if an option is on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def preset_values(name: str) -> dict[str, Any]:
    """The options that a preset sets: those in which the paper's rows differ.

    Raises:
        UsageError: for an unknown name, with the nearest known one.
    """
    from prefgen.methods.bdhs import PRESETS

    if name not in PRESETS:
        raise UsageError(f"--preset {name!r} is unknown{suggestion(name, PRESETS)}; see `prefgen presets`")
    values = dataclasses.asdict(PRESETS[name])
    return {key: values[key] for key in ("variant", "rho", "noise_steps", "iterations", "guidance")}


def _current(values: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The values under the current names of options."""
    for old in values.keys() & renamed.keys():
        note(old, renamed[old])
    return {renamed.get(key, key): value for key, value in values.items()}


def _options(ctx: typer.Context) -> dict[str, bool]:
    """The options that a file may set, and whether each repeats."""
    named = {str(each.name): getattr(each, "multiple", False) for each in ctx.command.params}
    return {name: repeats for name, repeats in named.items() if name not in _NOT_CONFIGURABLE}


def given(ctx: typer.Context, left_out: Container[str]) -> list[str]:
    """The options on the command line with their values, as words of a command line."""
    words = []
    for parameter in ctx.command.params:
        name = str(parameter.name)
        if name not in left_out and is_given(ctx, name):
            flag, value = max(parameter.opts, key=len), ctx.params[name]
            for item in value if isinstance(value, list) else [value]:
                words += [flag] if item is True else [flag, str(item)]
    return words


def lock(ctx: typer.Context, changed: Mapping[str, Any] | None = None) -> str:
    """The merged configuration as TOML, with the value of every option of the command.

    Args:
        changed: options with other values than the command's; None leaves one out.
    """
    import tomli_w

    import prefgen
    from prefgen.runner.finishing import REPEAT

    values = {
        name: _redacted(value)
        for name, value in {**ctx.params, **(changed or {})}.items()
        if name in _options(ctx) and name != "preset" and value is not None
    }
    heading = f"# prefgen {prefgen.__version__}, prefgen {ctx.info_name}\n"
    if "config_file" in ctx.params:
        runs = shlex.join(_redacted(ctx.params.get("runs", [])))
        words = " ".join(filter(None, ("prefgen", ctx.info_name, runs, "--config FILE")))
        heading = f"# prefgen {prefgen.__version__}; {REPEAT}{words}\n"
    return heading + tomli_w.dumps(dict(sorted(values.items())))


def _redacted(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return redact(str(value)) if isinstance(value, str | Path) else value
