"""Random draws, compared with numpy's own construction of the same generator."""

from __future__ import annotations

import numpy as np
import pytest

from prefgen import seeds


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_a_generator_is_philox_with_the_seed_as_its_key(seed: int) -> None:
    ours, theirs = seeds.generator(seed), np.random.Generator(np.random.Philox(key=seed))
    assert ours.random(5).tolist() == theirs.random(5).tolist()
    assert ours.standard_normal(5).tolist() == theirs.standard_normal(5).tolist()
    assert ours.integers(0, 7, 5).tolist() == theirs.integers(0, 7, 5).tolist()
