"""Stage 2 of the training: projector and language model on the frozen tower's features of a fixed pool of pictures.

A picture takes 144 tokens and an answer about ten, so that several conversations are packed behind one picture: each
sees the picture and itself, at the positions that it would have alone. Text is written anew for every pass through the
pool; the loss is on answers only, each with its ``</s>``.

Three things make so small a model read its picture within minutes; without them it answers yes/no questions by chance
for more than a thousand steps. Queries and keys start equal, so that a word attends to what resembles it (Trockman and
Kolter, "Mimetic Initialization of Self-Attention Layers", ICML 2023). Projected patches are pulled towards the
embeddings of the words for what they show. And the first steps ask single questions only.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pictures import Pictures
from scene_model import IMAGE_TOKENS, OPENING, answer_labels, learn_tokenizer, llava_config, make_processor
from torch import nn
from torch.nn import functional
from tower import Optimiser, Recipe, batches, elapsed, labels_of, pixel_values, resume, save_checkpoint
from transformers import (
    CLIPVisionModel,
    GenerationConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from prefgen.evaluate.scenes.heldout import Heldout
from prefgen.evaluate.scenes.language import Mix, SceneTurn, conversation, question
from prefgen.evaluate.scenes.measure import evaluate, responder
from prefgen.evaluate.scenes.truth import COLOURS, KINDS, TEXT_STREAM, Scene

log = logging.getLogger(__name__)

CORPUS_SCENES = 3000
WORD_WEIGHT, ALIKE_SCALE = 0.2, 20.0
QUESTIONS = Mix(detail=0.0, brief=0.12, more=(1, 2))
WATCHED = (
    *("object_recall", "chair_i", "partner_hallucination"),
    *("present/accuracy", "absent-random/accuracy", "absent-adversarial/accuracy"),
)


@dataclass(frozen=True)
class LanguageRecipe(Recipe):
    """Stage 2: projector and language model.

    Attributes:
        tokens: Length of the sequence of a picture and its conversations.
        captions: Captions of a picture.
        lookup_steps: First steps, which have single questions only.
    """

    steps: int = 3400
    batch_size: int = 8
    learning_rate: float = 3e-3
    other_rate: float = 1.5e-3
    tokens: int = 448
    captions: int = 3
    lookup_steps: int = 400


def train_tokenizer(scenes: Sequence[Scene]) -> PreTrainedTokenizerFast:
    """Learn the BPE on conversations about some scenes."""

    def corpus() -> Iterator[str]:
        for scene in scenes[:CORPUS_SCENES]:
            for turns in conversations(scene, np.random.default_rng([scene.seed, scene.index, TEXT_STREAM]), 2):
                yield "USER: \n" + "USER: ".join(f"{turn.question} ASSISTANT: {turn.answer}" for turn in turns)

    return learn_tokenizer(corpus())


def new_model(tower: CLIPVisionModel, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """An untrained projector and language model on top of a trained vision tower, which is frozen."""
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model = LlavaForConditionalGeneration(llava_config(tokenizer))
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    model.generation_config = GenerationConfig(do_sample=False, **special)
    with torch.no_grad():
        for layer in model.model.language_model.layers:  # mimetic initialisation
            nn.init.orthogonal_(layer.self_attn.q_proj.weight)
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
    return model


@torch.no_grad()
def features_of(tower: CLIPVisionModel, pixels: np.ndarray, path: Path) -> np.ndarray:
    """The tower's last hidden state of every picture without the class token, (N, 144, D) in half precision."""
    if not path.exists():
        kept = np.empty((len(pixels), IMAGE_TOKENS, tower.config.hidden_size), np.float16)
        for start in range(0, len(pixels), 64):
            hidden = tower(pixel_values(pixels[start : start + 64])).last_hidden_state[:, 1:]
            kept[start : start + 64] = hidden.half().numpy()
        partial = path.with_suffix(".partial.npy")
        np.save(partial, kept)
        partial.rename(path)
    features: np.ndarray = np.load(path, mmap_mode="r")
    return features


def conversations(scene: Scene, rng: np.random.Generator, captions: int) -> Iterator[list[SceneTurn]]:
    """Conversations about a scene: detailed captions, then more questions than there is room for."""
    for _ in range(captions):
        yield [question(scene, "detail", rng)]
    for _ in range(12):
        yield conversation(scene, rng, QUESTIONS)


def lookups(scene: Scene, rng: np.random.Generator) -> Iterator[list[SceneTurn]]:
    """Single questions about things that are there and things that are not, which teach to look before to tell."""
    absent, present = [kind for kind in KINDS if kind not in scene.kinds], sorted(scene.kinds)
    for _ in range(24):
        kind = str(rng.choice(["no", "yes", "colour", "count"], p=[0.35, 0.35, 0.2, 0.1]))
        about = str(rng.choice(absent if kind == "no" else present))
        turn = question(scene, kind, rng, about)
        yield [replace(turn, answer=f"{kind.capitalize()}.") if kind in ("yes", "no") else turn]


def plain_chat(turns: Sequence[SceneTurn]) -> str:
    """The conversation as the chat template writes it; written out, because the template is 50 times as slow."""
    first, *more = turns
    text = f"USER: <image>\n{first.question} ASSISTANT: {first.answer}</s>"
    return text + "".join(f"USER: {turn.question} ASSISTANT: {turn.answer}</s>" for turn in more)


@dataclass(frozen=True)
class Packed:
    """A batch of pictures with their conversations.

    Attributes:
        input_ids, labels: (B, T); a label is the id of its own position. positions: (B, T).
        mask: 0 where a position may be attended to, else a large negative number, (B, 1, T, T).
        image_start: Position of the first image token.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    image_start: int


@dataclass(frozen=True)
class Chat:
    """The chat format of a language model.

    Attributes:
        write: The text of a conversation about a picture.
        opening: The tokens that open an answer.
    """

    write: Callable[[Sequence[SceneTurn]], str] = plain_chat
    opening: Sequence[str] = OPENING


def pack(
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[Sequence[str]],
    tokens: int,
    opening: Sequence[str] = OPENING,
) -> Packed:
    """Pack the conversations of each picture behind it, as many as there is room for."""
    image = tokenizer.convert_tokens_to_ids("<image>")
    encoded = tokenizer([text for each in texts for text in each])["input_ids"]
    at = encoded[0].index(image)
    head = encoded[0][:at] + [image] * IMAGE_TOKENS
    ids = torch.full((len(texts), tokens), int(tokenizer.pad_token_id))
    owner = torch.full((len(texts), tokens), -1)  # of each position: 0 for the picture, 1, 2 ... for a conversation
    positions = torch.zeros_like(ids)
    ids[:, : len(head)], owner[:, : len(head)] = torch.tensor(head), 0
    positions[:, : len(head)] = torch.arange(len(head))
    labels = torch.full_like(ids, -100)
    number = 0
    for row, each in enumerate(texts):
        end = len(head)
        for place in range(len(each)):
            tail = torch.tensor(encoded[number + place][at + 1 :])
            if end + len(tail) > tokens:
                continue
            here = slice(end, end + len(tail))
            ids[row, here], owner[row, here] = tail, place + 1
            positions[row, here] = torch.arange(len(head), len(head) + len(tail))
            labels[row, here] = answer_labels(tokenizer, tail[None], opening)[0]
            end += len(tail)
        number += len(each)
    seen = (owner[:, None, :] == 0) | (owner[:, None, :] == owner[:, :, None])
    seen &= torch.ones(tokens, tokens, dtype=torch.bool).tril()
    mask = torch.zeros(seen.shape, dtype=torch.bfloat16).masked_fill(~seen, -1e9)
    return Packed(ids, labels, positions, mask[:, None], at)


def patch_words(tokenizer: PreTrainedTokenizerFast, pictures: Pictures) -> torch.Tensor:
    """First tokens of the words for kind and colour of what covers each patch, -100 for nothing, (N, 144, 2)."""
    labels = labels_of(pictures)

    def tokens(words: Sequence[str]) -> torch.Tensor:
        return torch.tensor(tokenizer.convert_tokens_to_ids([tokenizer.tokenize(f"a {word}")[1] for word in words]))

    words = torch.stack([tokens(["thing", *KINDS])[labels.kinds], tokens(COLOURS)[labels.colours]], dim=-1)
    return words.masked_fill((labels.kinds == 0)[..., None], -100)


def loss_of(
    model: LlavaForConditionalGeneration,
    packed: Packed,
    features: torch.Tensor,
    words: torch.Tensor | None = None,
    decoder: Callable[..., Any] | None = None,
) -> torch.Tensor:
    """Mean cross-entropy of the labelled tokens, and distance of patches from their words.

    Args:
        features: (B, 144, D).
        words: Of `patch_words`, (B, 144, 2); the embeddings that projected patches are pulled towards.
        decoder: The model's language model, compiled.
    """
    embedding = model.get_input_embeddings()
    embedded = embedding(packed.input_ids)
    start = packed.image_start
    image = model.model.multi_modal_projector(features)
    inputs = torch.cat([embedded[:, :start], image.to(embedded), embedded[:, start + IMAGE_TOKENS :]], dim=1)
    decoder = model.model.language_model if decoder is None else decoder
    hidden = decoder(
        inputs_embeds=inputs, attention_mask=packed.mask, position_ids=packed.positions, use_cache=False
    ).last_hidden_state
    labelled = packed.labels[:, 1:] >= 0
    logits = model.lm_head(hidden[:, :-1][labelled]).float()
    loss = functional.cross_entropy(logits, packed.labels[:, 1:][labelled])
    if words is None:
        return loss
    shown = words[..., 0] >= 0
    alike = functional.normalize(image[shown].float(), dim=-1) @ functional.normalize(embedding.weight, dim=-1).T
    named = functional.log_softmax(ALIKE_SCALE * alike, dim=-1).gather(1, words[shown])
    return loss - WORD_WEIGHT * named.mean()


def train_language(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pictures: Pictures,
    features: np.ndarray,
    validation: Sequence[Heldout],
    recipe: LanguageRecipe,
    seed: int,
    checkpoint: Path,
    every: int = 100,
    stop_after: int | None = None,
    chat: Chat = Chat(),
) -> None:
    """Train projector and language model, or go on from a checkpoint.

    Args:
        validation: Scenes whose figures are logged with every fourth checkpoint; none: no figures.
        every: Steps between two checkpoints. stop_after: Step at which to leave off before the recipe's last.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = Optimiser(model.model.language_model.layers, parameters, recipe)
    parts = {"model": model, "optimiser": optimiser}
    done = resume(checkpoint, parts)
    start, losses = (time.monotonic(), time.process_time()), []
    indices = batches(len(pictures.scenes), recipe.batch_size, seed, done)
    words = patch_words(tokenizer, pictures)
    decoder = torch.compile(model.model.language_model) if recipe.compiled else None
    for step in range(done + 1, (stop_after or recipe.steps) + 1):
        model.train()
        chosen = next(indices)
        rng = np.random.default_rng([seed, step, TEXT_STREAM])
        texts = [
            [chat.write(turns) for turns in told]
            for index in chosen
            for scene in [pictures.scenes[index]]
            for told in [
                lookups(scene, rng) if step <= recipe.lookup_steps else conversations(scene, rng, recipe.captions)
            ]
        ]
        packed = pack(tokenizer, texts, recipe.tokens, chat.opening)
        with torch.autocast("cpu", torch.bfloat16):
            shown = torch.from_numpy(np.stack([features[index] for index in chosen])).float()
            loss = loss_of(model, packed, shown, words[torch.from_numpy(chosen)], decoder)
        optimiser.step(loss)
        losses.append(loss.item())
        if step % 50 == 0:
            count = int((packed.labels >= 0).sum())
            mean, cost = sum(losses[-50:]) / len(losses[-50:]), elapsed(start)
            log.info("language %d/%d loss %.4f, %d tokens (%s)", step, recipe.steps, mean, count, cost)
        if step % every == 0 or step in (recipe.steps, stop_after):
            save_checkpoint(checkpoint, step, parts)
            if validation and (step % (4 * every) == 0 or step == recipe.steps):
                log.info("  %s", watched(model.eval(), tokenizer, validation))
    model.eval()


def watched(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, items: Sequence[Heldout]) -> str:
    """The figures of `WATCHED` in percent."""
    figures = evaluate(responder(model, make_processor(tokenizer)), items)
    return ", ".join(f"{name} {100 * figures[name].value:.1f}" for name in WATCHED)
