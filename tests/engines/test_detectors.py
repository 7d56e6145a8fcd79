"""Detectors on tiny random models of both kinds, against the pipeline of transformers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import transformers

from prefgen.engines.detectors import ALIASES, Detector, Detectors
from prefgen.errors import ModelUnreachable, RowError, UsageError
from prefgen.records import Image
from prefgen.requests import Detect, Detected, Embed

WORDS = ("circle", "square", "star")


def picture(seed: int) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return Image(buffer.getvalue(), f"{seed}.png", 40, 48)


def owlv2(folder: Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["!", *letters, *(f"{letter}</w>" for letter in f"{letters}."), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="!", model_max_length=32
    )
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": 0}
    config = transformers.Owlv2Config(
        text_config={**layers, **ends, "vocab_size": len(tokens), "max_position_embeddings": 32},
        vision_config={**layers, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    images = transformers.Owlv2ImageProcessor(size={"height": 32, "width": 32})
    transformers.Owlv2Processor(images, tokenizer).save_pretrained(folder)


def grounding_dino(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, ".", "?", "a"]))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    swin = {"image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2]}
    sizes = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "d_model": 32, "num_queries": 10, "max_text_len": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_n_points": 2, "decoder_n_points": 2}
    config = transformers.GroundingDinoConfig(
        backbone_config=transformers.SwinConfig(**swin, window_size=4, out_indices=[2, 3, 4]),
        text_config={**layers, "vocab_size": len(tokenizer), "max_position_embeddings": 64, "model_type": "bert"},
        encoder_layers=1,
        decoder_layers=2,
        num_feature_levels=4,
        **sizes,
        **heads,
    )
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 128})
    transformers.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)


MAKERS = {"owlv2": owlv2, "grounding-dino": grounding_dino}
ASKED = {"owlv2": "a photo of a {}", "grounding-dino": "{}."}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in MAKERS}
    for number, (name, make) in enumerate(MAKERS.items()):
        torch.manual_seed(number)
        make(folders[name])
    return folders


def detected(engine: Detectors, requests: list[Detect]) -> list[Detected]:
    for ticket, request in enumerate(requests):
        engine.submit(ticket, request)
    replies = dict(engine.collect())
    found = [replies[ticket] for ticket in range(len(requests))]
    assert all(isinstance(reply, Detected) and not isinstance(reply, RowError) for reply in found)
    return found  # type: ignore[return-value]  # asserted


@pytest.mark.parametrize("name", MAKERS)
def test_scores_are_those_of_the_pipeline(name: str, models: dict[str, Path]) -> None:
    engine = Detectors.load([Detector(str(models[name]))], "cpu")
    requests = [Detect(picture(seed), word) for seed in (0, 1) for word in WORDS]
    ours = detected(engine, requests)
    pipeline = transformers.pipeline("zero-shot-object-detection", model=str(models[name]), device="cpu")
    for request, found in zip(requests, ours, strict=True):
        shown = PIL.Image.open(io.BytesIO(request.image.data))
        labels = [ASKED[name].format(request.name)]
        theirs = max(box["score"] for box in pipeline(shown, candidate_labels=labels, threshold=0.0))
        assert list(found.scores) == [pytest.approx(theirs, abs=1e-5)]


def test_detectors_agree_or_nothing_is_said(models: dict[str, Path]) -> None:
    names = [str(models[name]) for name in MAKERS]
    request = [Detect(picture(0), "star")]
    for thresholds, found in (((0.0, 0.0), True), ((1.0, 1.0), False), ((0.0, 1.0), None)):
        chosen = [Detector(name, None, threshold) for name, threshold in zip(names, thresholds, strict=True)]
        (reply,) = detected(Detectors.load(chosen, "cpu"), request)
        assert (reply.found, len(reply.scores)) == (found, 2)


def test_an_object_is_looked_for_once_in_a_picture(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Detectors.load([Detector(str(models["owlv2"]))], "cpu")
    passes: list[int] = []
    (model,) = engine._models
    forward = model.model.forward

    def counted(*args: object, **inputs: torch.Tensor) -> object:
        passes.append(len(inputs["pixel_values"]))
        return forward(*args, **inputs)

    monkeypatch.setattr(model.model, "forward", counted)
    first = detected(engine, [Detect(picture(0), "star"), Detect(picture(0), "star"), Detect(picture(1), "star")])
    assert first[0] == first[1]
    assert detected(engine, [Detect(picture(1), "star")]) == first[2:]
    assert passes == [2]
    with pytest.raises(TypeError, match="Embed"):
        engine.submit(0, Embed("star"))


def test_a_detector_is_named_with_its_revision_and_threshold(models: dict[str, Path]) -> None:
    assert Detector.parse("owlv2") == Detector(ALIASES["owlv2"])
    assert Detector.parse("owner/name@v2=0.25") == Detector("owner/name", "v2", 0.25)
    folder = models["owlv2"]
    assert Detector.parse(f"{folder}=0.5").pinned().startswith(f"{folder}@sha256:")
    assert Detector.parse(f"{folder}=0.5").pinned().endswith("=0.5")
    for wrong in ("owlv2=much", "owlv2=2", "=0.5"):
        with pytest.raises(UsageError, match="--detector"):
            Detector.parse(wrong)


def test_a_model_that_is_no_detector_is_refused() -> None:
    scenes = Path(__file__).parents[2] / "examples" / "scenes" / "model"
    with pytest.raises(ModelUnreachable, match=r"detector .* cannot be loaded"):
        Detectors.load([Detector(str(scenes))], "cpu")
