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

_SIZE_MAX = 2**20
_LISTS = ("also", "engine_args", "image_root", "input", "online_args", "sweep")  # options that may be repeated
# Options that are about this invocation, not about the run.
_NOT_CONFIGURABLE = ("config_file", "help", "json", "quiet", "dry_run", "list_", "runs", "shard", "workers", "ray")


def load_callback(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make a file's values the defaults of this command; the command line takes precedence."""
    if path is not None:
        values = check_keys(_current(read(path), keys(ctx)), _names(ctx), path)
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
        raise UsageError(f"--preset {name!r} is unknown{_suggestion(name, list(PRESETS))}; see `prefgen presets`")
    values = dataclasses.asdict(PRESETS[name])
    return {key: values[key] for key in ("variant", "rho", "noise_steps", "iterations", "guidance")}


def read(path: Path) -> dict[str, Any]:
    """Read a TOML or YAML file of options; a file not named ``.yaml`` or ``.yml`` is TOML.

    Raises:
        UsageError: if it cannot be read, is not a table of options, or uses YAML aliases or tags.
    """
    try:
        if path.stat().st_size > _SIZE_MAX:
            raise UsageError(f"{path} is larger than {_SIZE_MAX:,} bytes; is it a configuration file?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration {path} cannot be read: {error}") from error
    values = _read_yaml(text, path) if path.suffix in (".yaml", ".yml") else _read_toml(text, path)
    if not isinstance(values, dict):
        raise UsageError(f"{path} is a {type(values).__name__}, not a table of options such as `rho: 0.99`")
    return {str(key).replace("-", "_"): value for key, value in values.items()}


def _read_toml(text: str, path: Path) -> object:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def _read_yaml(text: str, path: Path) -> object:
    import yaml

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise UsageError(f"{path} uses YAML aliases, which are not allowed here: write the values out")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from error


def _current(values: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The values under the current names of options."""
    for old in values.keys() & renamed.keys():
        note(old, renamed[old])
    return {renamed.get(key, key): value for key, value in values.items()}


def _names(ctx: typer.Context) -> list[str]:
    return [str(parameter.name) for parameter in ctx.command.params if parameter.name not in _NOT_CONFIGURABLE]


def check_keys(values: Mapping[str, Any], known: list[str], path: Path) -> dict[str, Any]:
    """Check that every key is an option and every value a scalar, or a list where an option repeats.

    Raises:
        UsageError: naming the key, with the nearest known one.
    """
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{path}: unknown option {key!r}{_suggestion(key, known)}")
        if isinstance(value, dict) or (isinstance(value, list) and key not in _LISTS):
            raise UsageError(f"{path}: {key} is a {type(value).__name__}; give a single value")
    return {key: [value] if key in _LISTS and not isinstance(value, list) else value for key, value in values.items()}


def _suggestion(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


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
        if name in _names(ctx) and name != "preset" and value is not None
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
