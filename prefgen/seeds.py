"""Seeds of random draws, derived from what a draw is for and never from position, batch, worker or time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from numpy.random.bit_generator import ISeedSequence


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

    return np.random.Generator(np.random.Philox(_key_type()(seed)))  # type: ignore[arg-type]  # its stub lacks ISeedSequence


@cache
def _key_type() -> Callable[[int], ISeedSequence]:
    """A seed sequence whose state is the seed itself.

    ``Philox(key=seed)`` is the same stream, but first draws entropy from the operating system, which takes
    twice as long as the rest.
    """
    import numpy as np
    from numpy.random.bit_generator import ISeedSequence

    class Key(ISeedSequence):
        """The state (seed, 0) of two 64-bit words."""

        def __init__(self, seed: int) -> None:
            self._seed = seed

        def generate_state(self, n_words: int, dtype: object = np.uint64) -> npt.NDArray[np.uint64]:
            """The key."""
            return np.array([self._seed, 0], np.uint64)

    return Key
