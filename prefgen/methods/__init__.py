"""Methods that make pairs, one file each; a method is imported when it is first used.

`_PLACES` gives module and class by name. A line in `_BASELINES` is all that `prefgen baseline` needs for a new method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from prefgen.methods.base import Method

_BASELINES = {
    "dropout-ntp": ("dropout_ntp", "DropoutNTP"),
    "blind": ("blind", "Blind"),
    "weakened": ("weakened", "Weakened"),
    "contrastive": ("contrastive", "Contrastive"),
    "append": ("append", "Append"),
}
_PLACES = {
    "bdhs": ("bdhs", "BDHS"),
    "povid-style": ("povid", "Povid"),
    "image-pairs": ("image_pairs", "ImagePairs"),
    "corrupt": ("corrupt", "Corrupt"),
    "revise": ("revise", "Revise"),
    "rank": ("rank", "Rank"),
    "sentences": ("sentences", "Sentences"),
    **_BASELINES,
}


class _Methods(Mapping[str, type[Method]]):
    """A read-only mapping of names to method classes, which are imported on access."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getitem__(self, name: str) -> type[Method]:
        if name not in self._names:
            raise KeyError(name)
        module, kind = _PLACES[name]
        found: type[Method] = getattr(import_module(f"{__name__}.{module}"), kind)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


BASELINES = _Methods(*_BASELINES)
"""Methods that `prefgen baseline` runs, by name."""

METHODS = _Methods(*_PLACES)
"""All methods, by the name that is stored with their pairs."""
