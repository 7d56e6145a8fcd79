"""Seeds of random draws, derived from what a draw is for and never from position, batch, worker or time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derive(run_seed: int, sample_id: str, iteration: int, purpose: str) -> int:
    """A 64-bit seed that depends only on its arguments.

    Args:
        iteration: 1-based, as in algorithm 1.
        purpose: what the draw decides, e.g. ``mask`` or ``sentence 3``.
    """
    key = f"{run_seed}\x1f{sample_id}\x1f{iteration}\x1f{purpose}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


def generator(seed: int) -> np.random.Generator:
    """The random generator of every draw: Philox, counter-based, the same stream on every platform."""
    import numpy as np  # here, since its import takes a third of the time that `prefgen --help` may take

    return np.random.Generator(np.random.Philox(key=seed))
