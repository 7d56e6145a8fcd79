"""Speed and memory of devices, from a table of GPU data sheets or by measurement."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib import resources

from prefgen.errors import UsageError


@dataclass(frozen=True)
class Hardware:
    """One device.

    Attributes:
        flops: of dense matrix products, a second.
        bandwidth: of its memory, bytes a second.
        memory: bytes.
        source: where these figures are from.
        measured: whether from this machine.
    """

    name: str
    flops: float
    bandwidth: float
    memory: float
    source: str
    measured: bool = False

    def describe(self) -> str:
        """The device as text."""
        flops = f"{self.flops / 1e12:,.0f} TFLOP/s" if self.flops > 1e13 else f"{self.flops / 1e9:,.0f} GFLOP/s"
        return f"{self.name}: {flops}, {self.bandwidth / 1e9:,.0f} GB/s ({self.source})"

    def times(self, count: int) -> Hardware:
        """Several devices combined into one."""
        return replace(self, flops=self.flops * count, bandwidth=self.bandwidth * count, memory=self.memory * count)


def known() -> dict[str, Hardware]:
    """The GPUs of the table by name."""
    return {name: entry for name, _, entry in _table()}


def gpu(name: str) -> Hardware:
    """A GPU of the table, by name.

    Raises:
        UsageError: if it is not there, with those that are.
    """
    found = known()
    if name.lower() not in found:
        raise UsageError(f"--gpu {name!r} is unknown; choose from {', '.join(found)}")
    return found[name.lower()]


def of_device(device: str) -> Hardware:
    """A device of this machine, by torch's name: from the table, else measured."""
    from prefgen.engines.hf import devices, loading

    kind = loading.device_kind(device)
    for _, part, entry in _table():
        if kind.endswith(part):
            return entry
    flops, bandwidth = devices.speed(device)
    return Hardware(kind, flops, bandwidth, devices.free_bytes(device), "measured just now", True)


def _table() -> list[tuple[str, str, Hardware]]:
    """The table: name, suffix of CUDA's name, figures."""
    table = json.loads((resources.files("prefgen.estimate") / "gpus.json").read_text(encoding="utf-8"))
    return [
        (
            name,
            row["device"],
            Hardware(
                name,
                row["bf16"] * 1e12,
                row["bandwidth"] * 1e9,
                row["memory"] * 1e9,
                f"{row['source']}, looked up {table['checked']}",
            ),
        )
        for name, row in table["gpus"].items()
    ]
