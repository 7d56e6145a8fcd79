"""What training saves, in vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.test_vllm import METHODS, load, outcomes, transformers_engine
from tests.train.test_run import job, run
from tests.trainers.sets import mixture

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]  # vLLM and what it imports warn a lot


def test_a_trained_model_says_in_vllm_what_it_says_in_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    aligned = tmp_path / "aligned"
    run(job(mixture(tmp_path), aligned, max_steps=2, lr=1e-2))
    before, ours, theirs = (
        outcomes(engine, METHODS["greedy"], 20)
        for engine in (transformers_engine("model"), load(str(aligned)), transformers_engine(str(aligned)))
    )
    assert ours == theirs
    assert before != theirs
