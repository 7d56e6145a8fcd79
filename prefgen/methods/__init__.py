"""One paper, one file; a method is imported when it is asked for, so that the help of one does not wait for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from prefgen.methods.base import Method

_PLACES = {
    "bdhs": ("bdhs", "BDHS"),
    "povid-style": ("povid", "Povid"),
    "image-pairs": ("image_pairs", "ImagePairs"),
    "corrupt": ("corrupt", "Corrupt"),
    "rank": ("rank", "Rank"),
    "dropout-ntp": ("dropout_ntp", "DropoutNTP"),
    "blind": ("blind", "Blind"),
    "weakened": ("weakened", "Weakened"),
    "contrastive": ("contrastive", "Contrastive"),
    "append": ("append", "Append"),
    "sentences": ("sentences", "Sentences"),
}


class _Methods(Mapping[str, type[Method]]):
    """Methods by the name that their pairs carry."""

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


BASELINES = _Methods("dropout-ntp", "blind", "weakened", "contrastive", "append")
"""What BDHS is compared with, by name; `prefgen baseline` runs them."""

METHODS = _Methods(*_PLACES)
"""Every method by the name that its pairs carry."""
