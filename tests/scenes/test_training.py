"""The training scripts of the scenes, on a few pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyres
import numpy as np
import pictures
import pytest
import torch
from language_model import (
    LanguageRecipe,
    conversations,
    features_of,
    lookups,
    loss_of,
    new_model,
    pack,
    patch_words,
    plain_chat,
    train_language,
    train_tokenizer,
)
from pictures import PATCH_SIZE, PATCHES, Pictures, load, patch_owners, pools
from PIL import Image
from scene_model import IMAGE_TOKENS, answer_labels, chat_text, make_processor, save, vision_config
from tower import (
    Recipe,
    TowerRecipe,
    labels_of,
    mirrored,
    object_table,
    pixel_values,
    save_checkpoint,
    take,
    train_tower,
)
from transformers import CLIPVisionModel, PreTrainedTokenizerFast

from prefgen.evaluate.scenes.render import photo
from prefgen.evaluate.scenes.sample import sample_scene
from prefgen.evaluate.scenes.truth import KINDS

COUNT = 12


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return load(tmp_path_factory.mktemp("pool"), replace(pools(0)["vision"], size=COUNT))


@pytest.fixture(scope="module")
def tokenizer(few: Pictures) -> PreTrainedTokenizerFast:
    return train_tokenizer(few.scenes)


def test_a_pool_is_drawn_once_and_holds_the_pictures_of_its_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = replace(pools(3)["language"], size=3)
    drawn = load(tmp_path, pool)
    assert np.array_equal(drawn.pixels[2], np.asarray(photo(sample_scene(pool.world, pool.seed, 2))))
    monkeypatch.delattr(pictures, "draw")
    again = load(tmp_path, pool)
    assert again.scenes == drawn.scenes
    assert np.array_equal(again.pixels, drawn.pixels)


def test_patches_belong_to_objects_whose_boxes_they_touch(few: Pictures) -> None:
    for scene in few.scenes:
        instances = [instance for thing in scene.things for instance in thing.instances]
        for patch, owner in enumerate(patch_owners(scene)):
            if owner:
                row, column = divmod(patch, PATCHES)
                left, top, right, bottom = instances[owner - 1].box
                assert column * PATCH_SIZE < right + 1
                assert (column + 1) * PATCH_SIZE > left - 1
                assert row * PATCH_SIZE < bottom + 1
                assert (row + 1) * PATCH_SIZE > top - 1


def test_labels_of_patches_are_the_facts_of_their_objects(few: Pictures) -> None:
    labels = labels_of(few)
    for row, scene in enumerate(few.scenes):
        seen = {list(KINDS)[kind - 1] for kind in labels.kinds[row].tolist() if kind}
        assert seen <= scene.kinds
        facts, middles = object_table(scene)
        assert len(facts) == 1 + sum(thing.count for thing in scene.things)
        owned = few.owners[row] > 0
        assert np.allclose(labels.middles[row].numpy()[owned], middles[few.owners[row][owned]])


def test_a_picture_mirrored_twice_is_itself_and_once_is_the_labels_of_the_mirrored_picture(few: Pictures) -> None:
    labels = take(labels_of(few), np.arange(4))
    pixels, flip = few.pixels[:4], np.array([True, False, True, False])
    once, turned = mirrored(pixels, labels, flip)
    assert np.array_equal(once[0], pixels[0, :, ::-1])
    assert np.array_equal(once[1], pixels[1])
    for row in (0, 2):
        grid, before = turned.kinds[row].view(PATCHES, PATCHES), labels.kinds[row].view(PATCHES, PATCHES)
        assert torch.equal(grid, before.flip(1))
        middles = turned.middles[row].view(PATCHES, PATCHES, 2)
        assert torch.allclose(middles[..., 0], 1 - labels.middles[row].view(PATCHES, PATCHES, 2).flip(1)[..., 0])
    twice, back = mirrored(once, turned, flip)
    assert np.array_equal(twice, pixels)
    assert all(torch.allclose(a, b) for a, b in zip(vars(back).values(), vars(labels).values(), strict=True))


def test_chats_are_those_of_the_template(few: Pictures, tokenizer: PreTrainedTokenizerFast) -> None:
    for turns in conversations(few.scenes[0], np.random.default_rng(0), 2):
        assert plain_chat(turns) == chat_text(tokenizer, turns, image_tokens=1)


def test_a_conversation_packed_behind_a_picture_has_the_loss_that_it_has_alone(
    few: Pictures, tokenizer: PreTrainedTokenizerFast
) -> None:
    torch.manual_seed(0)
    tower = CLIPVisionModel(vision_config()).eval()
    model = new_model(tower, tokenizer).eval()
    texts = [
        [plain_chat(turns) for turns in conversations(scene, np.random.default_rng(7), 2)][:4]
        for scene in few.scenes[:2]
    ]
    packed = pack(tokenizer, texts, 640)
    packed = replace(packed, mask=packed.mask.float())
    with torch.no_grad():
        features = tower(pixel_values(few.pixels[:2])).last_hidden_state[:, 1:]
        together = loss_of(model, packed, features)
        total, count = 0.0, 0
        for row, each in enumerate(texts):
            for text in each:
                inputs = make_processor(tokenizer)(Image.fromarray(few.pixels[row]), text, return_tensors="pt")
                labels = answer_labels(tokenizer, inputs["input_ids"])
                tokens = int((labels >= 0).sum())
                total += float(model(**inputs, labels=labels).loss) * tokens
                count += tokens
    assert int((packed.labels >= 0).sum()) == count
    assert float(together) == pytest.approx(total / count, rel=1e-5)


def test_patches_are_named_by_what_they_show(few: Pictures, tokenizer: PreTrainedTokenizerFast) -> None:
    words = patch_words(tokenizer, few)
    shown = torch.from_numpy(few.owners > 0)
    assert torch.equal(words >= 0, shown[..., None].expand(-1, -1, 2))
    for row, scene in enumerate(few.scenes):
        pieces = [tokenizer.convert_ids_to_tokens(words[row][shown[row]][:, part].tolist()) for part in (0, 1)]
        named = {(kind.strip("▁"), colour.strip("▁")) for kind, colour in zip(*pieces, strict=True)}
        assert named
        things = [(thing.kind, thing.colour) for thing in scene.things]
        assert all(any(k.startswith(kind) and c.startswith(colour) for k, c in things) for kind, colour in named)


def test_lookups_ask_of_what_is_there_and_of_what_is_not(few: Pictures) -> None:
    turns = [turn for scene in few.scenes for each in lookups(scene, np.random.default_rng(3)) for turn in each]
    answers = {kind: {turn.answer for turn in turns if turn.kind == kind} for kind in ("yes", "no")}
    assert answers == {"yes": {"Yes."}, "no": {"No."}}
    for scene in few.scenes:
        for turn in (turn for each in lookups(scene, np.random.default_rng(3)) for turn in each):
            assert (turn.about in scene.kinds) == (turn.kind != "no")


def test_what_has_no_room_is_left_out_whole(few: Pictures, tokenizer: PreTrainedTokenizerFast) -> None:
    texts = [[plain_chat(turns) for turns in conversations(few.scenes[0], np.random.default_rng(7), 2)]]
    packed = pack(tokenizer, texts, 240)
    assert packed.input_ids.shape[1] == 240
    ends = (packed.labels == tokenizer.eos_token_id).sum()
    turns = (packed.input_ids == tokenizer.convert_tokens_to_ids("▁ASSISTANT")).sum()
    assert 0 < ends == turns
    assert (packed.input_ids == tokenizer.convert_tokens_to_ids("<image>")).sum() == IMAGE_TOKENS


def test_both_stages_resume_to_the_same_weights(
    few: Pictures, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Four steps at once, and two and two, end alike."""
    recipe = TowerRecipe(steps=4, batch_size=4, warmup_steps=1, compiled=False)
    whole = train_tower(few, few, recipe, 0, tmp_path / "whole.pt")
    train_tower(few, few, recipe, 0, tmp_path / "parts.pt", stop_after=2)
    parts = train_tower(few, few, recipe, 0, tmp_path / "parts.pt")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))

    features = features_of(whole, few.pixels, tmp_path / "features.npy")
    words = LanguageRecipe(steps=4, batch_size=2, warmup_steps=1, tokens=256, compiled=False)

    def trained(name: str, stop_after: int | None = None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = new_model(whole, tokenizer)
        kept = tmp_path / f"language-{name}.pt"
        train_language(model, tokenizer, few, features, (), words, 0, kept, stop_after=stop_after)
        return [*model.parameters()]

    at_once, half = trained("whole"), trained("parts", stop_after=2)
    assert not all(map(torch.equal, at_once, half))
    assert all(map(torch.equal, at_once, trained("parts")))


def test_the_anyres_model_is_tuned_on_both_sizes_and_resumes(
    few: Pictures, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    save(new_model(CLIPVisionModel(vision_config()), tokenizer), make_processor(tokenizer), tmp_path / "base")
    recipe = Recipe(steps=2, batch_size=1, learning_rate=1e-3, other_rate=1e-3, warmup_steps=1)
    widths: list[int] = []
    drawn = anyres.anyres_inputs

    def inputs(processor: Any, given: Any, scale: int) -> dict[str, torch.Tensor]:
        made = drawn(processor, given, scale)
        widths.append(int(made["image_sizes"][0, 1]))
        return made

    def killed(path: Path, step: int, parts: Any) -> None:
        save_checkpoint(path, step, parts)
        raise KeyboardInterrupt

    monkeypatch.setattr(anyres, "anyres_inputs", inputs)
    whole, processor = anyres.build_anyres(tmp_path / "base")
    anyres.fine_tune(whole, processor, recipe, 0, tmp_path / "whole.pt", every=1)
    assert widths == [144, 288]
    part, _ = anyres.build_anyres(tmp_path / "base")
    monkeypatch.setattr(anyres, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        anyres.fine_tune(part, processor, recipe, 0, tmp_path / "part.pt", every=1)
    monkeypatch.setattr(anyres, "save_checkpoint", save_checkpoint)
    again, _ = anyres.build_anyres(tmp_path / "base")
    anyres.fine_tune(again, processor, recipe, 0, tmp_path / "part.pt", every=1)
    assert all(map(torch.equal, whole.parameters(), again.parameters()))
    assert not all(map(torch.equal, whole.parameters(), anyres.build_anyres(tmp_path / "base")[0].parameters()))
