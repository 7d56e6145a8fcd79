"""The devices of this machine, their memory and speed. Needs only torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from prefgen.errors import UsageError


def describe() -> list[str]:
    """Descriptions of all devices."""
    found = [f"cpu: {os.cpu_count()} cores, {free_bytes('cpu') / 2**30:.1f} GiB of memory free"]
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        found.append(f"cuda:{index}: {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    if torch.backends.mps.is_available():
        found.append(f"mps: Apple's GPU, {free_bytes('mps') / 2**30:.1f} GiB free")
    return found


def speed(device: str) -> tuple[float, float]:
    """Measured floating-point operations and bytes per second of a device, from a matrix product and a copy.

    In the data type that ``auto`` stands for there; a fraction of a second.
    """
    gpu = device.startswith(("cuda", "mps"))
    side, copied, dtype = (8192, 2**30, torch.bfloat16) if gpu else (768, 2**26, torch.float32)
    left = torch.ones(side, side, dtype=dtype, device=device)
    source, target = (torch.ones(copied, dtype=torch.uint8, device=device) for _ in range(2))
    product_s = _fastest(device, lambda: left @ left)
    copy_s = _fastest(device, lambda: target.copy_(source))
    return 2 * side**3 / product_s, 2 * copied / copy_s  # each byte is read and written


def _fastest(device: str, work: Callable[[], object], times: int = 4) -> float:
    """Seconds of the fastest of several rounds; the first one is a warm-up."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        if device.startswith("mps"):
            torch.mps.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def free_bytes(device: str) -> int:
    """Free memory of a device."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    if device.startswith("mps"):
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def shares(processes: int, device: str, gpus_each: int = 1) -> list[Mapping[str, str]]:
    """Environment variables that give each of several processes its own GPUs or cores.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``. gpus_each: of a process at least.

    Raises:
        UsageError: if there are fewer GPUs, or one of them is asked for.
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return [{"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // processes)))}] * processes
    if device not in ("auto", "cuda"):
        raise UsageError(
            f"--device {device} is one device, but there are {processes} processes: give auto, cuda or cpu"
        )
    gpus = _visible()
    each = len(gpus) // processes
    if each < gpus_each:
        wanted = "a GPU" if gpus_each == 1 else f"{gpus_each} GPUs"
        raise UsageError(f"{processes} processes cannot have {wanted} each: there are {len(gpus)} here")
    groups = [gpus[start : start + each] for start in range(0, each * processes, each)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups]


def _visible() -> list[str]:
    """The usable GPUs, in the terms of CUDA_VISIBLE_DEVICES."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [str(index) for index in range(torch.cuda.device_count())]
