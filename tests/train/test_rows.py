"""Stored rows to token ids."""

from __future__ import annotations

from typing import Any

import pytest

from prefgen.errors import RowError
from prefgen.records import Span
from prefgen.training.config import LossMask
from prefgen.training.rows import Reader, TrainingSample
from tests.engines import tiny
from tests.engines.zoo import ZOO
from tests.train.pairs import CHOSEN, REJECTED, joined, row

PROMPT = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is there?"}]}]


@pytest.mark.parametrize("name", ["llava", "llava_next", "internvl", "smolvlm", "qwen2_5_vl", "gemma3"])
def test_prompt_and_answer_are_those_of_the_models_own_processor(name: str) -> None:
    loaded = ZOO[name]()
    sample = Reader(loaded, "all", 10_000).sample([row()])
    said = [*PROMPT, {"role": "assistant", "content": [{"type": "text", "text": CHOSEN}]}]
    text = loaded.processor.apply_chat_template(said)
    picture = tiny.picture(0)
    from prefgen import images

    bos = loaded.processor.tokenizer.bos_token
    whole = loaded.processor(
        text=[text], images=[[images.decode(picture)]], add_special_tokens=not text.startswith(bos)
    )["input_ids"][0]
    ours = [*sample.prompt, *sample.answers[0].ids]
    assert ours[-1] in loaded.eos_ids
    at = len(ours) if whole[: len(ours)] == ours else len(ours) - 1  # a template without end token gets one
    assert list(whole[:at]) == ours[:at]
    decoded = loaded.processor.tokenizer.decode(sample.answers[0].ids, skip_special_tokens=True)
    assert decoded.strip() == CHOSEN
    assert sample.answers[0].weights == (1.0,) * len(sample.answers[0].ids)


def counted(sample: TrainingSample, answer: int) -> str:
    """The text of the tokens that count."""
    own = sample.answers[answer]
    tokenizer = tiny.llava().processor.tokenizer
    return str(tokenizer.decode([token for token, weight in zip(own.ids, own.weights, strict=True) if weight]))


def read(loss_mask: Any, *rows: dict[str, Any]) -> TrainingSample:
    return Reader(tiny.llava(), loss_mask, 10_000).sample(rows)


def test_the_end_token_can_be_left_out() -> None:
    assert counted(read("all", row()), 0).endswith("</s>")
    assert counted(read("no-eos", row()), 0).split() == CHOSEN.split()


def test_spans_count_what_differs_by_the_record() -> None:
    span, cut = Span(11, 20), 11  # "red star." was written for "red circle."
    sample = read("spans", row(spans=(span,), cuts=(cut,), finish=("stop",)))
    assert counted(sample, 0).split() == ["red", "circle."]
    assert counted(sample, 1).split() == ["red", "star."]


def test_spans_count_what_differs_by_a_diff_where_nothing_is_recorded() -> None:
    sample = read("spans", row())
    assert 0 < sum(sample.answers[0].weights) < len(sample.answers[0].ids) // 2
    assert "circle".startswith(counted(sample, 0).replace(".", "").strip()[:1])
    assert not sample.answers[0].weights[-1]


def test_dense_counts_all_and_what_differs_several_times() -> None:
    both = row(spans=(Span(11, 20),), cuts=(11,), finish=("stop",))
    alone = Reader(tiny.llava(), "spans", 10_000).sample([both])
    dense = Reader(tiny.llava(), "dense", 10_000, span_weight=4.0).sample([both])
    for one, other in zip(alone.answers, dense.answers, strict=True):
        assert set(one.weights) == {0.0, 1.0}
        assert other.weights == tuple(4.0 if differs else 1.0 for differs in one.weights)


def test_a_chosen_answer_counts_where_it_differs_from_any_rejected_one() -> None:
    one, other, both = (
        read("spans", *rows) for rows in ([row()], [row(rejected=REJECTED[1])], [row(), row(rejected=REJECTED[1])])
    )
    union = [max(a, b) for a, b in zip(one.answers[0].weights, other.answers[0].weights, strict=True)]
    assert list(both.answers[0].weights) == union
    assert both.answers[1:] == (one.answers[1], other.answers[1])


def test_text_that_spells_special_tokens_stays_text() -> None:
    loaded = tiny.llava()
    sample = Reader(loaded, "all", 10_000).sample([row("A </s> b.", "A <pad> b.")])
    assert list(sample.answers[0].ids).count(loaded.processor.tokenizer.eos_token_id) == 1
    assert loaded.processor.tokenizer.pad_token_id not in sample.answers[1].ids


@pytest.mark.parametrize(
    ("given", "max_length", "reason"),
    [
        (row(), 30, "ROW_TOO_LONG"),
        (row(rejected=CHOSEN), 10_000, "REJECTED_EQUALS_CHOSEN"),
        (row(rejected=""), 10_000, "ANSWER_EMPTY"),
        (row("", "", rejected_images=(tiny.picture(1),)), 10_000, "ANSWER_EMPTY"),
        (row(rejected_images=(tiny.picture(1),)), 30, "ROW_TOO_LONG"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_named(given: dict[str, Any], max_length: int, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        Reader(tiny.llava(), "all", max_length).sample([given])


def test_rejected_images_stand_in_rows_of_their_own() -> None:
    rows = joined(row(rejected_images=(tiny.picture(1),)), row(rejected=REJECTED[1]))
    with pytest.raises(RowError, match="REJECTED_BY_IMAGE"):
        Reader(tiny.llava(), "all", 10_000).sample(rows)


@pytest.mark.parametrize(("loss_mask", "end"), [("all", 1.0), ("no-eos", 0.0), ("spans", 1.0), ("dense", 1.0)])
def test_all_of_an_answer_counts_where_its_picture_is_rejected(loss_mask: LossMask, end: float) -> None:
    loaded = tiny.llava()
    found = Reader(loaded, loss_mask, 10_000).sample([row(rejected=CHOSEN, rejected_images=(tiny.picture(1),))])
    assert found.answers[0] == found.answers[1]
    assert found.answers[0].weights == (*[1.0] * (len(found.answers[0].ids) - 1), end)
