"""Processes that train one model together, started by `torchrun`, `accelerate launch` or `start`.

Each has a device and a share of every batch. The first one writes all files and says what there is to say.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import accelerate
import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from prefgen.engines.base import EngineConfig
from prefgen.engines.hf.loading import resolve_device
from prefgen.errors import ExitCode, PrefgenError, UsageError

T = TypeVar("T")

_PATIENCE_S = 300  # for the step that is going on, and a checkpoint, after a signal


def count() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def number() -> int:
    """The rank of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def first() -> bool:
    """True if this process has rank 0, which writes and prints."""
    return number() == 0


def sharding() -> str:
    """The kind of sharding in accelerate's configuration; empty if each process has all weights."""
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        return "fsdp"
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        return f"deepspeed-{os.environ.get('ACCELERATE_DEEPSPEED_ZERO_STAGE', '')}"
    return ""


def join(config: EngineConfig) -> EngineConfig:
    """Initialize the process group.

    Returns:
        The configuration with this process's own device.

    Raises:
        UsageError: they were asked to be on one device, or to do what cannot be done together.
    """
    if sharding() == "fsdp" and os.environ.get("FSDP_VERSION", "1") != "2":
        raise UsageError("fsdp_version 1 is not supported; set fsdp_version: 2 in accelerate's configuration")
    if os.environ.get("FSDP_ACTIVATION_CHECKPOINTING", "false") == "true":
        raise UsageError("set fsdp_activation_checkpointing: false; --gradient-checkpointing is what does it here")
    os.environ["ACCELERATE_MIXED_PRECISION"] = "no"  # `--dtype` says what is computed in
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"  # each reads its part of the data with the whole model first
    if count() == 1:
        return config
    device = resolve_device(config.device)
    if ":" in device:
        raise UsageError(f"--device {device} is one device, and there are {count()} processes; say --device cuda")
    accelerate.PartialState(cpu=device == "cpu")
    return dataclasses.replace(config, device=device if device == "cpu" else f"{device}:{os.environ['LOCAL_RANK']}")


def most(value: int) -> int:
    """The maximum over the processes."""
    if count() == 1:
        return value
    greatest = torch.tensor(value, device=accelerate.PartialState().device)
    torch.distributed.all_reduce(greatest, torch.distributed.ReduceOp.MAX)
    return int(greatest)


def gathered(own: T) -> list[T]:
    """The values of all processes, by rank."""
    if count() == 1:
        return [own]
    found: list[T | None] = [None] * count()
    torch.distributed.all_gather_object(found, own)
    return found  # type: ignore[return-value]  # all are filled


def whole(weight: torch.Tensor) -> torch.Tensor:
    """A full weight, gathered on the CPU; all processes must call this."""
    if isinstance(weight, DTensor):
        weight = weight.full_tensor()
    elif hasattr(weight, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([weight]):
            weight = weight.detach().clone()
    return weight.detach().cpu().contiguous()


def assign(weight: torch.Tensor, value: torch.Tensor) -> None:
    """Set a weight, or each process's shard of it."""
    if isinstance(weight, DTensor):
        value = distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)
    with torch.no_grad():
        weight.copy_(value)


@contextmanager
def together() -> Iterator[None]:
    """Wait for all processes. An error for the user in any of them is reported once and ends all.

    Raises:
        PrefgenError: in the first process that has one.
        SystemExit: in the others.
    """
    own: PrefgenError | None = None
    try:
        yield
    except PrefgenError as error:
        own = error
    codes = gathered(own.exit_code if own else None)
    failed = [place for place, code in enumerate(codes) if code is not None]
    if own and failed[0] == number():
        raise own
    if failed:
        raise SystemExit(codes[failed[0]])


def start(processes: int, device: str) -> ExitCode:
    """Start this command in several processes on this machine, each with one GPU, or all on the CPU.

    Returns:
        The exit code of the first that failed; after a signal, its.

    Raises:
        UsageError: there are not so many GPUs.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if resolve_device(device) == "cpu":
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    elif processes > torch.cuda.device_count():
        raise UsageError(f"--gpus {processes}, but this machine has {torch.cuda.device_count()}")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes say what went wrong
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        shutdown_timeout=_PATIENCE_S,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "prefgen", *sys.argv[1:])
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return ExitCode(code) if code in ExitCode.__members__.values() else ExitCode.BUG
    except SignalException as error:
        return ExitCode.INTERRUPTED if error.sigval.name == "SIGINT" else ExitCode.TERMINATED
    return ExitCode.DONE
