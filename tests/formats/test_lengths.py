from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

from prefgen.engines.hf.loading import LoadedModel
from prefgen.errors import ModelUnreachable, UsageError
from prefgen.formats import LOADERS, checking, lengths
from prefgen.formats.exporting import export
from prefgen.formats.lengths import Lengths
from tests.engines import tiny, zoo
from tests.select.runs import pair, stored

IMAGE_TOKENS = 16


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("processor")
    loaded = tiny.llava()
    loaded.processor.save_pretrained(folder)
    loaded.model.config.save_pretrained(folder)
    return str(folder)


def test_a_pair_is_measured_as_the_processor_sees_it() -> None:
    made = pair(0)
    loaded = tiny.llava()
    length = Lengths(loaded.processor, loaded.image_token_id, "tiny").measure(made)
    text = "USER: <image>\nWhat is it? ASSISTANT:"
    ids = loaded.processor(text=[text], images=[PIL.Image.new("RGB", (16, 12))])["input_ids"][0]
    image = loaded.image_token_id
    assert length.image_end == max(place for place, token in enumerate(ids) if token == image) + 1
    assert length.chosen > len(ids) + 2
    assert ids.count(image) == IMAGE_TOKENS


@pytest.mark.parametrize("build", [zoo.gemma3, zoo.ovis2, zoo.aya_vision])
def test_the_last_image_token_is_found_where_the_template_writes_another(
    build: Callable[[], LoadedModel], tmp_path: Path
) -> None:
    loaded = build()
    length = Lengths.load(str(zoo.save(loaded, tmp_path))).measure(pair(0))
    assert length.image_end > 4  # all of the tokens of a tile lie before it


def test_a_model_without_image_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UsageError, match="has no image token"):
        Lengths.load(str(tmp_path))


def test_a_model_whose_image_token_never_comes_is_refused(processor: str, tmp_path: Path) -> None:
    shutil.copytree(processor, tmp_path, dirs_exist_ok=True)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "image_token_id": 3}))
    with pytest.raises(ModelUnreachable, match=r"puts no image token into a prompt with a picture \(3 in its config"):
        Lengths.load(str(tmp_path)).measure(pair(0))


def test_a_processor_that_fails_at_a_row_is_named(processor: str) -> None:
    counting = Lengths.load(processor)
    counting._processor.patch_size = None
    with pytest.raises(ModelUnreachable, match=f"the processor of model {processor} fails at a row: TypeError"):
        counting.measure(pair(0))


@pytest.mark.parametrize("trainer", LOADERS)
def test_rows_that_are_cut(tmp_path: Path, processor: str, trainer: str) -> None:
    run = stored(tmp_path / "run", [pair(0), pair(1, rejected="A dog. " * 60)])
    export(run, trainer, tmp_path / "exported")
    for src in (tmp_path / "run", tmp_path / "exported"):
        assert checking.check(src, trainer, processor, 2000).problems == ()
        (cut,) = checking.check(src, trainer, processor, 120).problems
        assert "rejected ends at token" in cut.detail
        pictures = checking.check(src, trainer, processor, IMAGE_TOKENS).problems
        assert len(pictures) == 2
        assert "cut into the picture" in pictures[0].detail


def test_limits() -> None:
    assert lengths.limit("trl", None) == 1024
    assert lengths.limit("llamafactory", 77) == 77
    with pytest.raises(UsageError, match="--max-length"):
        lengths.limit("ms-swift", None)
