"""Algorithm 1 a second time, naively: one sample, one sentence, one stock `generate` at a time, on the scenes.

Nothing of prefgen's text, restriction, engine or method code is used here, only its reader and its seeds (which draw is
seeded by what). The scenes' language is simple enough for a naive sentence splitter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer

from prefgen import images, sources
from prefgen.driver import drive
from prefgen.engines import build
from prefgen.engines.base import ATTENTIONS, POSITIONS, Attention, EngineConfig
from prefgen.images import load_images
from prefgen.methods.bdhs import BDHS
from prefgen.records import Dropped, Pair, Sample
from prefgen.seeds import derive, generator
from prefgen.sources import SourceOptions

SCENES = Path(__file__).parent.parent / "examples" / "scenes"
INPUT, MODEL = str(SCENES / "llava_instruct.json"), str(SCENES / "model")
SAMPLES = 16


@dataclass(frozen=True)
class Naive:
    """What the naive replay ended with."""

    rejected: str
    iteration: int
    similarity: float
    kept: int
    cuts: list[int]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    options = SourceOptions(limit=SAMPLES)
    rows = [row for row in sources.read(INPUT, options) if isinstance(row, Sample)]
    loaded = [load_images(row, options.root(INPUT), None) for row in rows]
    return [sample for sample in loaded if isinstance(sample, Sample)]


class Replay:
    """Algorithm 1, line by line."""

    def __init__(self, method: BDHS) -> None:
        from prefgen.engines.embedder import resolve

        self.method = method
        self.processor = transformers.AutoProcessor.from_pretrained(MODEL)
        self.model = transformers.AutoModelForImageTextToText.from_pretrained(MODEL, dtype=torch.float32).eval()
        self.embedder = SentenceTransformer(resolve("minilm"), device="cpu")

    def __call__(self, sample: Sample) -> Naive:
        method, answer = self.method, str(sample.answer)
        n = method.iterations
        for i in range(1, n + 1):  # line 1
            mask = generator(self._seed(sample, i, "mask")).random(self._image_tokens(sample)) >= method.rho  # line 2
            cuts: list[int] = []
            if n > 1 and i == n:  # lines 5 and 6
                rejected = self._generate(sample, mask, "").strip()
            else:
                rejected, start = "", 0
                for k, y in enumerate(re.split(r"(?<=[.!?])(?=\s)", answer)):  # lines 8 and 10; y begins with its space
                    lead = len(y) - len(y.lstrip())
                    xi, u = generator(self._seed(sample, i, f"cut {k}")).random(2)  # line 11
                    body, swapped = y.strip(), False
                    if xi >= 0.5 and re.match(r"\s*(yes|no)\b", body, re.IGNORECASE):  # lines 12 and 13
                        body, swapped = self._swap(body), True
                    words = [match.end() for match in re.finditer(r"\S+", body)]
                    at = words[int(u * (len(words) - 1))] if len(words) > 1 else 0  # line 14
                    if len(words) == 1 and swapped:
                        at = len(body.rstrip(".!?"))
                    prefix = body[:at]
                    context = answer[: start + lead]  # y+_{<k}
                    completed = self._first_sentence(prefix, self._generate(sample, mask, context + prefix))  # line 15
                    rejected += y[:lead] + completed  # lines 16 and 17
                    cuts.append(start + lead + at + len(y.strip()) - len(body))
                    start += len(y)
            similarity = self._similarity(rejected, answer)  # line 18
            if similarity < method.similarity_threshold or i == n:  # lines 19 to 21
                return Naive(rejected, i, similarity, int(mask.sum()), cuts)
        raise AssertionError

    def _seed(self, sample: Sample, i: int, purpose: str) -> int:
        return derive(self.method.seed, sample.id, i, purpose)

    @staticmethod
    def _swap(body: str) -> str:
        word = "No" if body[:3].lower() == "yes" else "Yes"
        rest = body[3:] if word == "No" else body[2:]
        return (word if body[0].isupper() else word.lower()) + rest

    def _inputs(self, sample: Sample, prefix: str) -> Any:
        messages: list[dict[str, Any]] = []
        for turn in sample.prompt:
            parts = [
                {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in turn.parts
            ]
            messages.append({"role": turn.role, "content": parts})
        if prefix.strip():
            messages.append({"role": "assistant", "content": [{"type": "text", "text": prefix.rstrip(" ")}]})
            text = self.processor.apply_chat_template(messages, continue_final_message=True)
        else:
            text = self.processor.apply_chat_template(messages, add_generation_prompt=True)
        pictures = [images.decode(image) for image in sample.loaded_images]
        return self.processor(text=text, images=pictures, return_tensors="pt")

    def _image_tokens(self, sample: Sample) -> int:
        return int((self._inputs(sample, "")["input_ids"] == self.model.config.image_token_id).sum())

    @torch.inference_mode()
    def _generate(self, sample: Sample, mask: np.ndarray[Any, np.dtype[np.bool_]], prefix: str) -> str:
        """Stock greedy `generate` under a 2-D mask; the text that it adds to the prefix."""
        inputs = self._inputs(sample, prefix)
        ids = inputs["input_ids"]
        inputs["attention_mask"][ids == self.model.config.image_token_id] = torch.from_numpy(mask).long()
        tokenizer = self.processor.tokenizer
        output = self.model.generate(
            **inputs,
            max_new_tokens=self.method.max_new_tokens,
            do_sample=False,
            suppress_tokens=sorted(set(tokenizer.all_special_ids) - {tokenizer.eos_token_id}),
        )
        whole = tokenizer.decode(output[0], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        before = tokenizer.decode(ids[0], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(whole[len(before) :])

    @staticmethod
    def _first_sentence(prefix: str, generated: str) -> str:
        """Up to the first full stop or the end, joined to the prefix."""
        if not prefix:
            generated = generated.lstrip()
        found = re.search(r"[.!?](?=\s|\Z)", generated)
        return (prefix + (generated[: found.end()] if found else generated)).rstrip()

    def _similarity(self, rejected: str, answer: str) -> float:
        a, b = self.embedder.encode([rejected, answer], normalize_embeddings=True, show_progress_bar=False)
        return float(np.dot(a, b))


@pytest.mark.parametrize("attention", ["drop", "mask"])
@pytest.mark.parametrize("rho", [0.9, 0.99])
def test_the_product_equals_the_naive_replay(samples: list[Sample], attention: Attention, rho: float) -> None:
    method = BDHS(rho=rho, temperature=0.0, similarity_threshold=0.9, iterations=3, max_new_tokens=60, seed=4)
    config = EngineConfig(MODEL, similarity_model="minilm", attention=attention, device="cpu", batch_size=7)
    engines = build.build(config, BDHS.asks)
    made = dict(drive(samples, method, engines))
    replay = Replay(method)
    iterations = set()
    for index, sample in enumerate(samples):
        naive, outcome = replay(sample), made[index]
        if not isinstance(outcome, Pair):
            assert naive.rejected.strip() == str(sample.answer).strip()
            continue
        assert outcome.rejected == naive.rejected
        assert outcome.iteration == naive.iteration
        assert outcome.similarity == pytest.approx(naive.similarity, abs=2e-5)
        assert outcome.kept_tokens == naive.kept
        assert list(outcome.cuts) == naive.cuts
        iterations.add(outcome.iteration)
    assert iterations == {1, 2, 3}


def test_dropping_equals_masking_on_the_scenes(samples: list[Sample]) -> None:
    """Greedy texts of the shipped model, many masks, both positions."""
    for positions in POSITIONS:
        made = []
        for attention in ATTENTIONS:
            config = EngineConfig(
                MODEL, similarity_model="minilm", attention=attention, positions=positions, device="cpu"
            )
            method = BDHS(rho=0.9, temperature=0.0, iterations=2)
            made.append(dict(islice(drive(samples, method, build.build(config, BDHS.asks)), SAMPLES)))
        for index, dropped in made[0].items():
            masked = made[1][index]
            if isinstance(dropped, Pair) and isinstance(masked, Pair):  # embedded in batches of other sizes
                assert dropped.similarity == pytest.approx(masked.similarity, abs=2e-6)
                masked = replace(masked, similarity=dropped.similarity)
            assert dropped == masked


def test_batch_sizes_change_no_draw(samples: list[Sample]) -> None:
    """Masks, cuts and seeds always; in fp32 the texts as well."""
    made = []
    for batch_size in (1, 7, 32):
        config = EngineConfig(MODEL, similarity_model="minilm", device="cpu", batch_size=batch_size)
        outcomes = dict(drive(samples, BDHS(iterations=2), build.build(config, BDHS.asks)))
        made.append([outcomes[index] for index in range(len(samples))])
    for one in made[1:]:
        for a, b in zip(made[0], one, strict=True):
            assert a.iteration == b.iteration
            if isinstance(a, Pair) and isinstance(b, Pair):
                assert (a.cuts, a.kept_tokens, a.rejected) == (b.cuts, b.kept_tokens, b.rejected)
            else:
                assert isinstance(a, Dropped)
                assert isinstance(b, Dropped)
                assert a.reason == b.reason
