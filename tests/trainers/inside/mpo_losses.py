"""Print MPO's losses of a file's batches as TRL 0.24's `DPOTrainer` gives them: ``python mpo_losses.py FILE BETA``.

That is the last line of TRL in which the quality loss has a shift δ; the SFT term is left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from trl import import_utils

# Newer releases of transformers tell the version as well, and a tuple is never false.
for name, found in list(vars(import_utils).items()):
    if name.endswith("_available") and isinstance(found, tuple):
        setattr(import_utils, name, found[0])

from trl import DPOTrainer  # noqa: E402
from trl.trainer.dpo_config import FDivergenceType  # noqa: E402
from trl.trainer.utils import RunningMoments  # noqa: E402

file, beta = sys.argv[1:]
accelerator = Accelerator(cpu=True)
trainer: Any = SimpleNamespace(
    accelerator=accelerator,
    beta=float(beta),
    label_smoothing=0.0,
    reference_free=False,
    f_divergence_type=FDivergenceType.REVERSE_KL,
    f_divergence_params=None,
    running=RunningMoments(accelerator),
)
told = []
for batch in json.loads(Path(file).read_text()):
    logps = [torch.tensor(batch[name]) for name in ("chosen", "rejected", "chosen_ref", "rejected_ref")]
    pair, quality = (DPOTrainer.dpo_loss(trainer, *logps, loss_type=kind)[0] for kind in ("sigmoid", "bco_pair"))
    told.append((0.8 * pair + 0.2 * quality).tolist())
sys.stdout.write("\n" + json.dumps(told) + "\n")
