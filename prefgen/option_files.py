"""Files of options: TOML or YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prefgen.errors import UsageError

_SIZE_MAX = 2**20


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


def check_keys(values: Mapping[str, Any], known: Mapping[str, bool], path: Path) -> dict[str, Any]:
    """Check that every key is an option and every value a scalar, or a list where an option repeats.

    Args:
        known: the options, and whether each repeats.

    Raises:
        UsageError: naming the key, with the nearest known one.
    """
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{path}: unknown option {key!r}{suggestion(key, known)}")
        if isinstance(value, dict) or (isinstance(value, list) and not known[key]):
            raise UsageError(f"{path}: {key} is a {type(value).__name__}; give a single value")
    return {key: [value] if known[key] and not isinstance(value, list) else value for key, value in values.items()}


def suggestion(name: str, known: Iterable[str]) -> str:
    """The nearest known name, as the end of a message; empty if none is near."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
