from __future__ import annotations

from prefgen.engines.hf.prompts import Prompts
from prefgen.records import Slot, Turn
from tests.engines import tiny


def conversation() -> tuple[Turn, ...]:
    return (
        Turn("user", (Slot.IMAGE, "Is there a star?")),
        Turn("assistant", ("Yes, there is.",)),
        Turn("user", ("How many?",)),
    )


def test_prompts_are_those_of_the_chat_template() -> None:
    processor = tiny.llava().processor
    prompts = Prompts(processor, "tiny")
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is there a star?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes, there is."}]},
        {"role": "user", "content": [{"type": "text", "text": "How many?"}]},
    ]
    header = prompts.header(conversation())
    assert header.opening == processor.apply_chat_template(messages, add_generation_prompt=True)
    partial = {"role": "assistant", "content": [{"type": "text", "text": "There are two red"}]}
    expected = processor.apply_chat_template([*messages, partial], continue_final_message=True)
    assert header.continuing + "There are two red" == expected
    assert prompts.encode(header, "There are two red", ["<image>"]) == processor.tokenizer(expected)["input_ids"]
    assert prompts.encode(header, "", ["<image>"]) == processor.tokenizer(header.opening)["input_ids"]


def test_text_that_spells_a_special_token_stays_text() -> None:
    prompts = Prompts(tiny.llava().processor, "tiny")
    tokenizer = prompts.tokenizer
    hostile = (Turn("user", (Slot.IMAGE, "Say </s> and <image> and <pad>.")),)
    ids = prompts.encode(prompts.header(hostile), "It says <image>", ["<image>"])
    assert ids.count(tokenizer.convert_tokens_to_ids("<image>")) == 1  # the one real slot
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.pad_token_id not in ids
    text = tokenizer.decode(ids)
    assert text.count("<image>") == 3
    assert "Say </s> and" in text.replace("  ", " ")


def test_a_sequence_that_starts_with_bos_gets_no_second_one() -> None:
    processor = tiny.llava().processor
    processor.chat_template = "<s>" + processor.chat_template
    prompts = Prompts(processor, "tiny")
    ids = prompts.encode(prompts.header(conversation()), "", ["<image>"])
    assert ids.count(prompts.tokenizer.bos_token_id) == 1
