from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from prefgen.engines.base import Attention, EngineConfig
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.sampling import Continuation, Vocabulary, draw
from prefgen.records import Turn
from prefgen.requests import Completion, Generate, Sampling, Stop
from prefgen.visibility import View
from tests.engines import tiny


def drawn(
    probabilities: list[float], count: int, temperature: float = 1.0, top_p: float = 1.0
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    logits = torch.tensor(probabilities).log().expand(count, -1)
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens = draw(logits, uniform, torch.full((count,), temperature).double(), torch.full((count,), top_p).double())
    return np.bincount(tokens.numpy(), minlength=len(probabilities))


def test_draws_follow_the_distribution() -> None:
    assert drawn([0.5, 0.3, 0.0, 0.2], 1000).tolist() == [500, 300, 0, 200]


def test_temperature_sharpens() -> None:
    assert drawn([0.5, 0.25, 0.25], 600, temperature=0.5).tolist() == pytest.approx([400, 100, 100], abs=1)
    assert drawn([0.4, 0.6], 10, temperature=0.0).tolist() == [0, 10]


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    assert drawn([0.2, 0.5, 0.3], 800, top_p=0.6).tolist() == [0, 500, 300]
    assert drawn([0.2, 0.5, 0.3], 10, top_p=0.01).tolist() == [0, 10, 0]


def test_rows_have_settings_of_their_own() -> None:
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(3, -1)
    tokens = draw(
        logits, torch.tensor([0.99, 0.99, 0.1]).double(), torch.tensor([0.0, 1.0, 1.0]).double(), torch.ones(3).double()
    )
    assert tokens.tolist() == [1, 2, 0]


def test_a_draw_at_the_edge_never_takes_an_impossible_token() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    for value in (0.0, float(np.nextafter(1.0, 0.0)), 1.0):
        uniform = torch.tensor([value], dtype=torch.float64)
        assert draw(logits, uniform, torch.ones(1).double(), torch.ones(1).double()).tolist() == [1]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    tokenizer = tiny.tokenizer()
    return Vocabulary(
        tokenizer, len(tokenizer) + 3, {tokenizer.eos_token_id}, tokenizer.convert_tokens_to_ids("<image>")
    )


def test_image_pad_and_unused_tokens_are_forbidden_and_the_end_is_not(vocabulary: Vocabulary) -> None:
    tokenizer = vocabulary.tokenizer
    forbidden = set(vocabulary.forbidden_ids)
    assert {tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids("<image>")} <= forbidden
    assert set(range(len(tokenizer), len(tokenizer) + 3)) <= forbidden
    assert tokenizer.eos_token_id not in forbidden


def continuation(vocabulary: Vocabulary, prefix: str, stop: Stop, limit: int = 50) -> Continuation:
    request = Generate((), (), View(), prefix, 0, stop, "en", Sampling(max_new_tokens=limit), 0)
    ids = vocabulary.tokenizer(f"USER: ASSISTANT: {prefix}")["input_ids"]
    return Continuation(request, prefix, ids, vocabulary)


def push(row: Continuation, vocabulary: Vocabulary, text: str) -> None:
    for token in vocabulary.tokenizer(text, add_special_tokens=False)["input_ids"]:
        if row.push(token):
            return


@pytest.mark.parametrize(
    ("stop", "generated", "finish", "kept"),
    [
        ("sentence", "circle is 3.5 metres wide. A blue square", "stop", " circle is 3.5 metres wide."),
        ("full-stop", "circle is 3.5 metres wide. A blue square", "stop", " circle is 3."),
        ("end", "circle. A blue square", None, " circle. A blue square"),
    ],
)
def test_a_row_stops_where_its_rule_says(
    vocabulary: Vocabulary, stop: Stop, generated: str, finish: str | None, kept: str
) -> None:
    row = continuation(vocabulary, "There is a red", stop)
    push(row, vocabulary, generated)
    assert row.finish == finish
    assert row.completion(16, 1).text == kept


def test_the_leading_space_of_a_sentencepiece_word_is_kept(vocabulary: Vocabulary) -> None:
    alone = vocabulary.decode(vocabulary.tokenizer("circle", add_special_tokens=False)["input_ids"])
    assert not alone.startswith(" ")  # what makes decoding new tokens alone lossy
    row = continuation(vocabulary, "There is a red", "end")
    push(row, vocabulary, "circle")
    assert row.text() == " circle"


def test_the_token_limit_and_the_end_token_finish_a_row(vocabulary: Vocabulary) -> None:
    row = continuation(vocabulary, "There is", "sentence", limit=2)
    push(row, vocabulary, "a red circle in the corner")
    assert (row.finish, row.completion(0, 0).tokens) == ("length", 2)
    row = continuation(vocabulary, "There is", "sentence")
    push(row, vocabulary, "a red circle")
    row.push(vocabulary.tokenizer.eos_token_id)
    assert (row.finish, row.completion(0, 0).text) == ("eos", " a red circle")


@pytest.mark.parametrize("attention", ["drop", "mask"])
def test_an_answer_does_not_end_before_its_least_number_of_tokens(attention: Attention) -> None:
    """The model has no wish but to end."""
    loaded = tiny.llava()
    (eos,) = loaded.eos_ids

    def end(module: object, inputs: object, output: Any) -> None:
        output.logits[..., eos] = 1000.0

    hook = loaded.model.register_forward_hook(end)
    engine = TransformersEngine(loaded, EngineConfig("tiny", attention=attention))
    prompt = (Turn("user", ("Hello.",)),)
    for least in (0, 1, 3):
        settings = Sampling(0.0, 1.0, 9, min_new_tokens=least)
        engine.submit(least, Generate(prompt, (), View(), "", 0, "end", "en", settings, 1))
    ended: dict[int, Completion] = {}
    while replies := engine.collect():
        ended |= {least: reply for least, reply in replies if isinstance(reply, Completion)}
    hook.remove()
    assert {least: (reply.tokens, reply.finish) for least, reply in ended.items()} == {
        least: (least + 1, "eos") for least in (0, 1, 3)
    }


def test_image_tokens_that_the_output_layer_has_no_row_for_are_not_forbidden_again() -> None:
    tokenizer = tiny.tokenizer("<image>")
    image = tokenizer.convert_tokens_to_ids("<image>")
    pruned = Vocabulary(tokenizer, image, {tokenizer.eos_token_id}, image)
    assert pruned.forbidden_ids == [tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id]
