"""From a row's columns to its messages, for conversations and flat columns."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prefgen.errors import RowError
from prefgen.records import Role
from prefgen.sources.image_columns import IMAGE_COLUMNS
from prefgen.sources.mapping import suggest_columns
from prefgen.sources.row import json_value
from prefgen.sources.turns import Message, check_speakers, message_parts, transposed

CONVERSATION_COLUMNS = ("conversations", "messages", "conversation", "texts", "contents")
QUESTION_COLUMNS = ("question", "prompt", "instruction", "query", "problem", "prefix", "input")
ANSWER_COLUMNS = ("answer", "response", "chosen", "output", "completion", "solution", "suffix", "answers")
CAPTION_COLUMNS = ("caption", "text", "txt", "description")
SYSTEM_COLUMNS = ("system", "system_prompt")
# Columns without which a question is not complete: the row is dropped unless they are asked or left out on purpose.
PROMPT_COLUMNS = ("input", "inputs", "context", "passage", "choices", "options")


@dataclass(frozen=True)
class Messages:
    """The messages of a row and the columns they come from.

    Attributes:
        said: role and content of each message.
        used: names of the columns that they came from.
        meta: what belongs to each answer, by its number; empty where nothing does.
    """

    said: tuple[Message, ...]
    used: tuple[str, ...]
    meta: tuple[Mapping[str, Any], ...] = ()


def read_messages(columns: Mapping[str, Any], mapped: Mapping[str, str], ask: Callable[[str], str | None]) -> Messages:
    """The messages of a row.

    Args:
        mapped: columns that the user named, by prefgen's name; they go before others of their kind.
        ask: the question of a row that has none, from its answer; None where there is none.

    Raises:
        RowError: ``ROW_SHAPE``, ``ROW_UNREAD``, ``JSON_NONFINITE``.
    """
    system = next((name for name in SYSTEM_COLUMNS if isinstance(columns.get(name), str) and columns[name].strip()), "")
    head: tuple[Message, ...] = (("system", columns[system]),) if system else ()
    for name in candidates(CONVERSATION_COLUMNS, mapped):
        value = columns.get(name)
        if isinstance(value, str) and value.strip():
            value = decoded(name, value)
        if isinstance(value, dict):  # how older `datasets` stored a list of objects: an object of lists
            value = transposed(name, value)
        if isinstance(value, list) and value:
            said = _expanded(name, value)
            if said[0][0] == "system" and said[0][1]:  # which goes before a column
                return Messages(said, (name,), _of_answers(columns, value))
            return Messages((*head, *said), (*filter(None, (system,)), name), _of_answers(columns, value))
        if not is_nothing(value) and value not in ("", []):
            raise RowError("ROW_SHAPE", f"{name} should be a list of messages, found {type(value).__name__}")
    found = _flat(columns, mapped, ask)
    return replace(found, said=(*head, *found.said), used=(*filter(None, (system,)), *found.used))


def candidates(names: Sequence[str], mapped: Mapping[str, str]) -> Sequence[str]:
    """The names that the user chose, of several for one thing; all of them if none was chosen."""
    return [name for name in names if mapped.get(name)] or names


def is_nothing(value: object) -> bool:
    """True if a value is null, or a table's equivalent."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _flat(columns: Mapping[str, Any], mapped: Mapping[str, str], ask: Callable[[str], str | None]) -> Messages:
    there = [name for name in candidates(QUESTION_COLUMNS, mapped) if not is_nothing(columns.get(name))]
    question = next((name for name in there if columns[name] != ""), there[0] if there else None)
    answer, reply = _answer(columns, mapped, captions=question is None)
    if question is None:
        asked: Any = ask(reply if isinstance(reply, str) else "")
        if asked is None:
            raise _no_question(columns, answer)
        used: tuple[str, ...] = ()
    else:
        asked = columns[question]
        used = (*(name for name in there if columns[name] == ""), question)
    if isinstance(asked, dict) and asked and all(isinstance(text, str) for text in asked.values()):
        asked, used = _in_one_language(str(question), asked), ()  # in meta, the others stay
    if question in ("instruction", "prompt") and isinstance(asked, str) and isinstance(columns.get("input"), str):
        asked, used = "\n".join(filter(None, (asked, columns["input"]))), (*used, "input")
    _check_all_asked(columns, mapped, question, used, asked)
    earlier = _earlier(columns["history"]) if "history" in columns else ()
    said = (*earlier, *_said("user", question or "--question", asked))
    if answer:
        said = (*said, *_said("assistant", answer, reply))
        used = (*used, answer) if columns.get(answer) is reply else used
    return Messages(said, (*used, "history"))


def _answer(columns: Mapping[str, Any], mapped: Mapping[str, str], *, captions: bool) -> tuple[str, Any]:
    """Name and value of the column that holds the answer, or two empty strings."""
    for name in candidates(ANSWER_COLUMNS, mapped):
        value = columns.get(name)
        if is_nothing(value) or (name == "answers" and not value):
            continue
        if name == "answers" and isinstance(value, list):  # other ways to say the same; in meta, all stay
            return name, value[0]
        return name, value
    reward = columns.get("reward_model")  # verl
    if isinstance(reward, dict) and isinstance(reward.get("ground_truth"), str):
        return "reward_model.ground_truth", reward["ground_truth"]
    if captions:
        name = next((name for name in CAPTION_COLUMNS if isinstance(columns.get(name), str)), "")
        return name, columns.get(name, "")
    return "", ""


def _in_one_language(column: str, texts: Mapping[str, str]) -> str:
    """The English text of a column with a text per language, or the only one."""
    if "en" not in texts and len(texts) > 1:
        choice = ", ".join(f"--columns question={column}.{language}" for language in list(texts)[:3])
        raise RowError("ROW_SHAPE", f"{column} is in several languages: choose one by {choice}")
    return texts.get("en", next(iter(texts.values())))


def _check_all_asked(
    columns: Mapping[str, Any], mapped: Mapping[str, str], question: str | None, used: Sequence[str], asked: object
) -> None:
    """Raise if a column that belongs to the question would be left out.

    Raises:
        RowError: ``ROW_UNREAD``.
    """
    rivals = () if question is None or mapped.get(question) else QUESTION_COLUMNS
    for name in (*PROMPT_COLUMNS, *rivals):
        value = columns.get(name)
        if name != question and name not in used and not is_nothing(value) and value not in ("", [], {}, asked):
            raise RowError(
                "ROW_UNREAD",
                f"{name} belongs to the prompt, and prefgen asks only {question or '--question'}: put both into one "
                f"column, or leave it out by --columns {name}=",
            )


def _no_question(columns: Mapping[str, Any], answer: str) -> RowError:
    empty = next((name for name in QUESTION_COLUMNS if isinstance(columns.get(name), float)), None)
    if empty:
        return RowError("JSON_NONFINITE", f"{empty} is {columns[empty]}")
    found = ", ".join(map(str, columns))[:200] or "nothing"
    message = f"expected one of {', '.join((*CONVERSATION_COLUMNS, *QUESTION_COLUMNS))}; found {found}"
    if answer in (*CAPTION_COLUMNS, *ANSWER_COLUMNS):
        message += f". To ask one question about every {answer}: --question 'Describe the image.'"
    elif line := suggest_columns(columns, (*IMAGE_COLUMNS, *ANSWER_COLUMNS)):
        message += f". If these are the right ones: {line}"
    return RowError("ROW_SHAPE", message)


def _said(role: Role, column: str, value: object) -> tuple[Message, ...]:
    """The messages of a flat column: a text, or a list of messages as in prompts of TRL and verl."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return _expanded(column, value)
    if isinstance(value, float) and not math.isfinite(value):
        raise RowError("JSON_NONFINITE", f"{column} is {value}")
    if isinstance(value, list) and len(value) > 1 and all(isinstance(item, str) for item in value):
        choice = f"--columns {'question' if role == 'user' else 'answer'}={column}.0"
        raise RowError(
            "ROW_SHAPE", f"{column} holds {len(value)} texts: choose one by {choice}, or prefgen import ranked"
        )
    if not isinstance(value, str):
        raise RowError("ROW_SHAPE", f"{column} should be a string, found {type(value).__name__}")
    return ((role, value),)


def _earlier(history: object) -> tuple[Message, ...]:
    """The turns of LLaMA-Factory's ``history``: pairs of question and answer."""
    pairs = [] if is_nothing(history) else history or []
    if not isinstance(pairs, list) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise RowError("ROW_SHAPE", "history should hold pairs of a question and an answer")
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise RowError("ROW_SHAPE", "history should hold pairs of strings")
    roles: tuple[Role, Role] = ("user", "assistant")
    return tuple((role, text) for turn in pairs for role, text in zip(roles, turn, strict=True))


def decoded(column: str, text: str) -> Any:
    """A list or object that a table stores as JSON text or as a Python literal.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        value = _literal(text)
        if value is None:
            raise RowError("ROW_SHAPE", f"{column} is a text, and no JSON: {str(error)[:80]}") from error
    if not isinstance(value, (list, dict)):
        raise RowError("ROW_SHAPE", f"{column} should be a list, found the text {text[:40]!r}")
    return value


def _literal(text: str) -> Any:
    """The value of a Python literal, which pandas writes for lists; None if it is none."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _expanded(column: str, items: Sequence[object]) -> tuple[Message, ...]:
    """Role and content of a list's messages; an object may also hold a question and its answer."""
    check_speakers(items)
    messages: list[Message] = []
    for item in items:
        pair = _question_and_answer(item)
        if pair is None:
            messages.append(message_parts(column, item))
        else:
            roles: tuple[Role, Role] = ("user", "assistant")
            if not all(text is None or isinstance(text, (str, list)) for text in pair):
                raise RowError("ROW_SHAPE", f"{column} should hold pairs of texts")
            messages += [(role, text) for role, text in zip(roles, pair, strict=True) if text is not None]
    if not messages:
        raise RowError("ROW_SHAPE", f"{column} has no message with a text")
    return tuple(messages)


def _question_and_answer(item: object) -> tuple[Any, Any] | None:
    """The two texts of FineVision's ``{"user": …, "assistant": …}`` or ms-swift's ``{"human": …, "assistant": …}``."""
    if not isinstance(item, dict) or "from" in item or "role" in item or "assistant" not in item:
        return None
    asked = next((item[name] for name in ("user", "human") if name in item), None)
    return asked, item["assistant"]


def _of_answers(columns: Mapping[str, Any], items: Sequence[object]) -> tuple[Mapping[str, Any], ...]:
    """Further values of question-answer pairs, by answer, and FineVision's rating columns."""
    if not all(_question_and_answer(item) for item in items):
        return ()
    ratings = {
        str(name).removesuffix("s"): values
        for name, values in columns.items()
        if str(name).endswith("_ratings") and isinstance(values, list) and len(values) == len(items)
    }
    return tuple(
        {
            **{
                f"turn_{name}": json_value(value)
                for name, value in item.items()
                if name not in ("user", "human", "assistant")
            },
            **{name: json_value(values[number]) for name, values in ratings.items()},
        }
        for number, item in enumerate(items)
        if isinstance(item, dict)
    )
