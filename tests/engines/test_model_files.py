"""Model folders as people have them, and as an attacker would make them: one line that says what to do, exit code 5."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

from prefgen.engines import adapters, embedder
from prefgen.engines.base import EngineConfig
from prefgen.engines.embedder import Embedder
from prefgen.engines.hf import loading
from prefgen.errors import ModelUnreachable, UsageError
from tests.engines import tiny
from tests.engines.test_loading import generate, save

DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny.llava(), tmp_path_factory.mktemp("sound"))


def edit(path: Path, **changes: Any) -> None:
    """Change settings of a JSON file; None takes one out."""
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))


def of_text(path: Path, **changes: Any) -> None:
    edit(path, text_config=json.loads(path.read_text())["text_config"] | changes)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut weights": (lambda at: cut(at / "model.safetensors", 2000), "SafetensorError.*download it again"),
    "empty weights": (lambda at: cut(at / "model.safetensors", 0), "SafetensorError.*download it again"),
    "other weights": (lambda at: of_text(at / "config.json", intermediate_size=128), "RuntimeError"),
    "deep config": (lambda at: (at / "config.json").write_text('{"model_type": "llava", "x": ' + DEEP), "Recursion"),
    "config is a list": (lambda at: (at / "config.json").write_text("[1]"), "download it again"),
    "wrong type": (lambda at: of_text(at / "config.json", hidden_size="x"), "expected int, got str"),
    "config no text": (lambda at: (at / "config.json").write_bytes(b"\xff\xfe\x00"), "config.json|decode"),
    "tokenizer": (lambda at: (at / "tokenizer.json").write_text('{"a": 1}'), "KeyError: 'added_tokens'"),
    "deep tokenizer": (lambda at: (at / "tokenizer.json").write_text(DEEP), "RecursionError"),
    "processor": (lambda at: (at / "processor_config.json").write_text("[1]"), "AttributeError"),
    "no processor": (lambda at: (at / "processor_config.json").unlink(), "processor.*preprocessor_config.json"),
    "no weights": (lambda at: (at / "model.safetensors").unlink(), "it has no weights"),
    "pickles": (lambda at: (at / "model.safetensors").rename(at / "pytorch_model.bin"), "pickles.*save_pretrained"),
    "original LLaVA": (lambda at: edit(at / "config.json", mm_vision_tower="openai/clip"), "llava-hf/.*convert"),
    "original LLaVA 1.6": (
        lambda at: edit(at / "config.json", mm_vision_tower="openai/clip", model_type="llava_llama"),
        "llava-hf/.*convert",
    ),
    "own code": (
        lambda at: edit(at / "config.json", model_type="internvl_chat", auto_map={"AutoConfig": "own.Config"}),
        "brings code of its own: name its conversion.*--trust-remote-code",
    ),
    "newer type": (
        lambda at: edit(at / "config.json", model_type="llava_9"),
        "'llava_9', which transformers .* a newer",
    ),
    "GGUF": (lambda at: (at / "config.json").rename(at / "q4.gguf"), "llama.cpp's.*--engine openai"),
    "no config": (lambda at: (at / "config.json").unlink(), "has no config.json: it is no model's folder"),
    "one level up": (lambda at: nested(at), "has no config.json; checkpoint-8 in it has"),
    "negative image token": (lambda at: edit(at / "config.json", image_token_index=-5), "the image token -5"),
    "adapter": (lambda at: (at / "adapter_config.json").write_text(DEEP), "adapter .*RecursionError"),
}


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def nested(folder: Path) -> None:
    (folder / "checkpoint-8").mkdir()
    for path in folder.glob("*.json"):
        path.rename(folder / "checkpoint-8" / path.name)


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_folder_is_named_with_what_to_do(
    damage: Callable[[Path], Any], message: str, sound: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    damage(folder)
    with pytest.raises(ModelUnreachable, match=message) as raised:
        loading.load(EngineConfig(str(folder), device="cpu"))
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize("name", ["/no/where", "./nowhere", "../nowhere", "~/nowhere", "a/b/c", "nowhere/"])
def test_a_path_that_does_not_exist_is_no_name_on_the_hub(name: str) -> None:
    for ask in (loading.revision_of, lambda name: loading.load(EngineConfig(name)), lambda name: pin(name)):
        with pytest.raises(ModelUnreachable, match=f"^(similarity )?there is no folder {name}"):
            ask(name)


def pin(name: str) -> str:
    return embedder.pin(name)


def test_a_name_that_could_be_either_says_that_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreachable, match=r"model some/thing \(there is no folder of that name\)"):
        loading.read_config(EngineConfig("some/thing"))


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "q4.gguf").write_bytes(b"GGUF")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelUnreachable, match=r"llama\.cpp"):
        loading.read_config(EngineConfig(str(tmp_path / "q4.gguf")))
    with pytest.raises(ModelUnreachable, match="is a file: name the folder"):
        loading.revision_of(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("build", [tiny.llava, tiny.llava_next])
def test_what_an_old_processor_lacks_is_taken_from_the_model(build: Callable[[], Any], tmp_path: Path) -> None:
    original = build()
    folder = save(original, tmp_path / "model")
    missing = ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens")
    edit(folder / "processor_config.json", **dict.fromkeys(missing))
    assert generate(loading.load(EngineConfig(str(folder), device="cpu"))) == generate(original)


def test_a_package_that_a_model_needs_is_named(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("MiniThing requires the tiktoken library")

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", fail)
    with pytest.raises(UsageError, match=r"a package is missing: .*tiktoken"):
        loading.load(EngineConfig(str(sound), device="cpu"))


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("part", ["", "2_Dense"])
def test_a_similarity_models_pickle_is_never_read(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, marker = tmp_path / "model", tmp_path / "ran"
    inner = Transformer(embedder.resolve("minilm"))
    SentenceTransformer(modules=[inner, Pooling(384), Dense(384, 8)]).save(str(folder))
    found = next(path for path in (folder / part).glob("*.safetensors"))
    found.unlink()
    found.with_name("pytorch_model.bin").write_bytes(pickle.dumps(Canary(marker)))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    with pytest.raises(ModelUnreachable, match=r"pytorch_model.bin is a pickle"):
        Embedder.load(str(folder), "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["joblib.numpy_pickle", "modeling_own.Own", "sentence_transformersx.Module", 7])
def test_a_similarity_models_part_of_another_package_is_not_imported(kind: object, tmp_path: Path) -> None:
    folder, marker = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(embedder.resolve("minilm"), folder)
    (folder / "evil.pkl").write_bytes(pickle.dumps(Canary(marker)))
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": len(modules), "name": "evil", "path": "evil.pkl", "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelUnreachable, match="is not of sentence-transformers"):
        Embedder.load(str(folder), "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("file", ["config.json", "modules.json", "tokenizer.json"])
def test_a_damaged_similarity_model_is_named(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(embedder.resolve("minilm"), folder)
    for text in (DEEP, "[1]", ""):
        (folder / file).write_text(text)
        with pytest.raises(ModelUnreachable, match=r"similarity model .* cannot be loaded"):
            Embedder.load(str(folder), "cpu")


def test_an_adapters_damaged_settings_are_named(tmp_path: Path) -> None:
    for text in (DEEP, "[1]", '{"base_model_name_or_path": "x", "r": "many"}'):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(ModelUnreachable, match=r"adapter .* cannot be loaded"):
            adapters.find(EngineConfig(str(tmp_path)))
