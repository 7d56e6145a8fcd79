"""The devices of this machine and their memory. Needs torch alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
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


def speed(device: str) -> tuple[float, float]:
    """Floating-point operations and bytes a second that a device manages: a matrix product, and a copy in memory.

    In the data type that ``auto`` stands for there; a fraction of a second.
    """
    gpu = device.startswith("cuda")
    side, copied, dtype = (8192, 2**30, torch.bfloat16) if gpu else (768, 2**26, torch.float32)
    left = torch.ones(side, side, dtype=dtype, device=device)
    source, target = (torch.ones(copied, dtype=torch.uint8, device=device) for _ in range(2))
    product_s = _fastest(device, lambda: left @ left)
    copy_s = _fastest(device, lambda: target.copy_(source))
    return 2 * side**3 / product_s, 2 * copied / copy_s  # each byte is read and written


def _fastest(device: str, work: Callable[[], object], times: int = 4) -> float:
    """Seconds of the fastest of some rounds; the first one warms up."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def free_bytes(device: str) -> int:
    """Memory that can be had on a device now."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
