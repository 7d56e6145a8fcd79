"""The devices of this machine and their memory. Needs torch alone."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def describe() -> list[str]:
    """Every device, in words."""
    found = [f"cpu: {os.cpu_count()} cores, {free_bytes('cpu') / 2**30:.1f} GiB of memory free"]
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        found.append(f"cuda:{index}: {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    return found


def free_bytes(device: str) -> int:
    """Memory that can be had on a device now."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
