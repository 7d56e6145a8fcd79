from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prefgen.cli import app
from prefgen.engines import templates
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.preview import preview
from prefgen.engines.templates import ChatTemplate
from prefgen.errors import ModelUnreachable, RowError, UsageError
from prefgen.records import Slot, Turn
from prefgen.requests import Completion, Generate, Sampling
from prefgen.visibility import View
from tests.engines import tiny
from tests.engines.test_loading import save

MESSAGES = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is there a stär \ud800?"}]}]
HOSTILE = {
    "loops": ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "longer than 1 s"),
    "one long step": ("{{ 3 ** (3 ** 30) }}", "(longer|more) than"),
    "doubling": (
        "{% set ns = namespace(a='a') %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
        "more than 1024 MiB",
    ),
    "much text": ("{% for i in range(9999) %}{{ 'a' * 1000 }}{% endfor %}", "8,388,608 are allowed"),
    "private": ("{{ ''.__class__.__mro__ }}", "SecurityError: access to attribute '__class__'"),
    "syntax": ("{% for %}", "TemplateSyntaxError"),
    "unknown name": ("{{ nothing.at.all }}", "UndefinedError: 'nothing' is undefined"),
    "other error": ("{{ 1 / 0 }}", "ZeroDivisionError"),
    "recursion": ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "RecursionError"),
}


def template(source: str) -> ChatTemplate:
    processor = tiny.llava().processor
    processor.chat_template = source
    return ChatTemplate(processor, "some/model")


@pytest.mark.parametrize(("source", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_template_is_stopped_and_named(source: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "longer" in message:
        monkeypatch.setattr(templates, "DEADLINE_S", 1)
    found = template(source)
    with pytest.raises(ModelUnreachable, match=f"chat template of model some/model cannot be rendered: .*{message}"):
        found.render(MESSAGES)
    monkeypatch.undo()  # the next one is rendered all the same
    assert template("{{ messages[0].role }}").render(MESSAGES) == "user"


def test_threads_share_a_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "DEADLINE_S", 2)
    made: list[Any] = []

    def render(source: str) -> None:
        try:
            made.append(template(source).render(MESSAGES))
        except ModelUnreachable as error:
            made.append(str(error))

    sources = [HOSTILE["loops"][0], *(f"{number}" for number in range(8))]
    threads = [threading.Thread(target=render, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len([text for text in made if "longer than 2 s" in text]) == 1
    assert sorted(text for text in made if len(text) == 1) == sorted("01234567")


@pytest.mark.parametrize("settings", [{}, {"add_generation_prompt": True}, {"continue_final_message": True}])
def test_the_text_is_that_of_transformers(settings: dict[str, bool]) -> None:
    processor = tiny.llava().processor
    processor.chat_template = (
        "{{ bos_token }}{% generation %}x{% endgeneration %}{{ messages | tojson }}\n  {% if add_generation_prompt %}"
        "ä{% endif %}\n{{ messages[0].content[1].text }}"
    )
    expected = processor.apply_chat_template(MESSAGES, tokenize=False, **settings)
    assert ChatTemplate(processor, "tiny").render(MESSAGES, **settings) == expected


def test_a_conversation_that_the_template_refuses_costs_its_row_only() -> None:
    loaded = tiny.llava()
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('No system role, please') }}{% endif %}"
    loaded.processor.chat_template = refusal + tiny.CHAT_TEMPLATE
    engine = TransformersEngine(loaded, EngineConfig("tiny"))
    asked = Turn("user", (Slot.IMAGE, "Is there a star?"))
    prompts = [(Turn("system", ("Be brief.",)), asked), (asked,), (Turn("system", ("Be nice.",)), asked)]
    for ticket, prompt in enumerate(prompts):
        request = Generate(prompt, (tiny.picture(1),), View(), "", 0, "end", "en", Sampling(0.0, 1.0, 2), 0)
        engine.submit(ticket, request)
    replies = dict(engine.collect())
    while len(replies) < 3:
        replies |= dict(engine.collect())
    assert isinstance(replies[1], Completion)
    for refused in (replies[0], replies[2]):
        assert isinstance(refused, RowError)
        assert (refused.reason, refused.detail[-22:]) == ("TEXT_REFUSED", "No system role, please")


def test_a_model_that_refuses_everything_ends_before_the_run(tmp_path: Path) -> None:
    loaded = tiny.llava()
    loaded.processor.chat_template = "{{ raise_exception('Not today') }}"
    folder = save(loaded, tmp_path / "model")
    from tests.handmade import sample

    with pytest.raises(UsageError, match=r"none of the first 2 samples can be asked: .* Not today"):
        preview(EngineConfig(str(folder)), [sample(), sample()])
    result = CliRunner().invoke(app, ["doctor", str(folder)])
    assert isinstance(result.exception, UsageError)
    assert "Not today" in result.output
