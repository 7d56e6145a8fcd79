from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prefgen.cli import app
from prefgen.engines import build, templates
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import loading, vision
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.preview import preview
from prefgen.engines.templates import ChatTemplate
from prefgen.errors import ModelUnreachable, RowError, UsageError
from prefgen.evaluate.scenes import measure
from prefgen.records import Slot, Turn
from prefgen.requests import Completion, Generate, Sampling
from prefgen.visibility import View
from tests.cli.runs import called
from tests.engines import tiny
from tests.engines.test_loading import save
from tests.handmade import sample
from tests.trainers.sets import SCENES

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
    with pytest.raises(UsageError, match=r"none of the first 2 samples can be asked: .* Not today"):
        preview(EngineConfig(str(folder)), [sample(), sample()])
    result = CliRunner().invoke(app, ["doctor", str(folder)])
    assert isinstance(result.exception, UsageError)
    assert "Not today" in result.output


def test_a_picture_that_the_processor_refuses_costs_its_row_only(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.llava()
    whole = type(loaded.processor.image_processor).preprocess

    def picky(self: Any, images: Any, *args: Any, **more: Any) -> Any:
        if any(picture.width > 100 for picture in images[0]):
            raise ValueError("absolute aspect ratio must be smaller than 200")
        return whole(self, images, *args, **more)

    monkeypatch.setattr(type(loaded.processor.image_processor), "preprocess", picky)
    engine = TransformersEngine(loaded, EngineConfig("tiny"))
    asked = (Turn("user", (Slot.IMAGE, "Is there a star?")),)
    pictures = [tiny.picture(1, width=200, height=1), tiny.picture(2), tiny.picture(1, width=200, height=1)]
    for ticket, picture in enumerate(pictures):
        engine.submit(ticket, Generate(asked, (picture,), View(), "", 0, "end", "en", Sampling(0.0, 1.0, 2), 0))
    replies = dict(engine.collect())
    while len(replies) < 3:
        replies |= dict(engine.collect())
    assert isinstance(replies[1], Completion)
    for refused in (replies[0], replies[2]):
        assert isinstance(refused, RowError)
        assert refused.reason == "IMG_REFUSED"
        assert "1.png: absolute aspect ratio" in refused.detail


def test_a_processor_that_fails_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.llava()
    loaded.processor.patch_size = None
    with pytest.raises(ModelUnreachable, match=r"processor fails at 1\.png: TypeError: .*prefgen doctor"):
        vision.preprocess(loaded.processor, (tiny.picture(1),), View())


def test_a_row_error_crosses_processes() -> None:
    sent = pickle.loads(pickle.dumps(RowError("IMG_REFUSED", "too wide")))
    assert (sent.reason, sent.detail, str(sent)) == ("IMG_REFUSED", "too wide", "IMG_REFUSED: too wide")


@pytest.fixture
def without(tmp_path: Path) -> tuple[Path, Path]:
    """A model's folder without a chat template, and a file with one of another prompt."""
    loaded = tiny.llava()
    loaded.processor.chat_template = None
    given = tmp_path / "vicuna.jinja"
    given.write_text("Look at this. " + tiny.CHAT_TEMPLATE)
    return save(loaded, tmp_path / "model"), given


def test_a_template_of_ones_own_is_used_and_pins_the_run(without: tuple[Path, Path]) -> None:
    folder, given = without
    plain = EngineConfig(str(folder), device="cpu")
    with pytest.raises(UsageError, match="has no chat template: give one by --chat-template FILE"):
        preview(plain, [sample()])
    config = replace(plain, chat_template=given)
    assert preview(config, [sample()]).prompt.startswith("Look at this. ")
    loaded = loading.load(config)
    assert loaded.revision == build.identify(config, (Generate,)).model_revision
    assert loaded.revision.startswith(f"{loading.pin(plain)} with chat template sha256:")
    assert loaded.weights_revision == loading.pin(plain)
    given.write_text("Look at that. " + tiny.CHAT_TEMPLATE)
    assert loading.pin(config) != loaded.revision


def test_a_template_of_ones_own_is_rendered_under_limits(
    without: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, given = without
    monkeypatch.setattr(templates, "DEADLINE_S", 1)
    given.write_text(HOSTILE["loops"][0])
    config = EngineConfig(str(folder), chat_template=given)
    own = ChatTemplate(loading.load_processor(config), "some/model")
    for ask in (lambda: preview(config, [sample()]), lambda: measure.prompt(own, "How many?")):
        with pytest.raises(ModelUnreachable, match=r"longer than 1 s; .*--chat-template FILE"):
            ask()


def test_a_template_of_ones_own_is_of_the_policy_alone(without: tuple[Path, Path]) -> None:
    config = EngineConfig(str(without[0]), chat_template=without[1], annotator="other", also=("further@main",))
    assert build.annotator(config).chat_template is None
    assert [each.chat_template for each in build.further(config)] == [None]
    assert build.annotator(replace(config, annotator="")).chat_template == without[1]


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"], ids=["missing", "empty", "blank", "no text"])
def test_a_file_without_a_template_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "t.jinja"
    if content is not None:
        file.write_bytes(content)
    config = EngineConfig(str(save(tiny.llava(), tmp_path / "model")), chat_template=file)
    for ask in (loading.pin, loading.load_processor):
        with pytest.raises(UsageError, match=rf"--chat-template {file} (cannot be read|is empty)"):
            ask(config)


def test_a_server_has_a_template_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--chat-template is for a model that is loaded here"):
        EngineConfig("m", "openai", base_url="http://localhost:8000/v1", chat_template=tmp_path / "t.jinja")


def test_a_run_goes_on_with_the_template_that_it_began_with(tmp_path: Path) -> None:
    own = (SCENES / "model" / "chat_template.jinja").read_text()
    given = tmp_path / "t.jinja"
    given.write_text(own)
    asked = ("bdhs", "--input", SCENES / "llava_instruct.json", "--similarity-model", "minilm", "--limit", "1")
    command = (*asked, "--model", SCENES / "model", "--chat-template", given, "--output", tmp_path / "out")
    assert called(*command).returncode in (0, 3, 9)
    given.write_text("Look. " + own)
    changed = called(*command)
    assert changed.returncode == 6
    assert "model_revision" in changed.stderr
