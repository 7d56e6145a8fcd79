"""The proof that precedes a run (`prefgen.engines.hf.proof`), for every type of model, on this machine's device.

    python examples/benchmarks/proofs.py --dtypes float32 bfloat16

The models are the small random ones of tests/engines. Each is proven with image tokens dropped against masked, in each
data type. Types that need a package or a newer transformers are listed as left out.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

import torch
from report import HERE, circumstances, command_line, write
from rich.console import Console

from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import loading, proof
from prefgen.engines.hf.loading import LoadedModel

sys.path.insert(0, str(HERE.parents[1]))  # where tests/ is: no package has it

from tests.engines.small_models import ALL, missing


def proven(built: LoadedModel, name: str, device: str, dtype: str) -> dict[str, Any]:
    """The proof of a model there and in this data type, as the report has it."""
    kind = getattr(torch, dtype)
    loaded = dataclasses.replace(built, model=built.model.to(device, kind), device=torch.device(device), dtype=kind)
    started = time.perf_counter()
    found = proof.prove(loaded, EngineConfig(name, device=device, dtype=dtype))
    return {
        "type": name,
        "dtype": dtype,
        "result": "refused" if found.refused else "removed" if loaded.family.state else found.attention,
        **dataclasses.asdict(found),
        "seconds": round(time.perf_counter() - started, 2),
    }


def prove(names: Iterable[str], device: str, dtypes: list[str]) -> Iterable[dict[str, Any]]:
    """Prove every model in every data type; one that fails costs no other."""
    for name in names:
        if package := missing(name):
            yield {"type": name, "result": "left out", "refused": f"it needs {package}"}
            continue
        for dtype in dtypes:
            try:
                yield proven(ALL[name](), name, device, dtype)
            except proof.FAULTS as error:
                words = f"{type(error).__name__}: {error}"
                yield {"type": name, "dtype": dtype, "result": "failed", "refused": words}


def figures(rows: list[dict[str, Any]], dtypes: list[str]) -> dict[str, Any]:
    """Numbers of proven types by data type, the largest difference found, and the types that were not proven."""
    found: dict[str, Any] = {}
    for dtype in dtypes:
        own = [row for row in rows if row.get("dtype") == dtype]
        good = [row for row in own if row["result"] not in ("refused", "failed")]
        worst = max(
            (max(row["stock"], row["drop"]) / row["tolerance"] for row in good if row["drop"] >= 0), default=0.0
        )
        found[f"{dtype}: proven"] = f"{len(good)} of {len(own)}"
        found[f"{dtype}: largest difference / tolerance"] = round(worst, 3)
        for result in ("mask", "refused", "failed"):
            if those := [row["type"] for row in own if row["result"] == result]:
                found[f"{dtype}: {result}"] = ", ".join(those)
    return found | {"left out": sum(row["result"] == "left out" for row in rows)}


def main() -> None:
    """Prove, print the figures, keep the JSON after every proof."""
    parser = command_line(__doc__, "device")
    parser.add_argument("--types", nargs="+", choices=tuple(ALL), default=list(ALL), metavar="TYPE")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16", "float16"), default=["float32"])
    arguments = parser.parse_args()

    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.backends.cudnn.allow_tf32 = False  # rounds float32 convolutions as no tolerance here allows
    device = loading.resolve_device(arguments.device)
    rows: list[dict[str, Any]] = []
    for row in prove(arguments.types, device, arguments.dtypes):
        rows.append(row)
        report = {
            **circumstances(loading.device_kind(device)),
            "figures": figures(rows, arguments.dtypes),
            "rows": rows,
        }
        write(report, arguments.output, "proofs", device)
    Console(width=120).print(figures(rows, arguments.dtypes))


if __name__ == "__main__":
    main()
