"""Parsing of a chat model's reply: its answer without reasoning, code fences and surrounding prose.

Wrapping is taken off, content is never repaired: what is read must still pass every check of a method. Each thing that
was taken off has a name (`Read.how`), which is recorded with the row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_NAMES = r"(?:[a-z]{1,12}:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad|monologue|cot)"
_OPEN = re.compile(
    rf"<\s*{_NAMES}(?:\s[^<>]{{0,200}})?>|\[{_NAMES}\]|◁think▷|<\|(?:begin_of_thought|begin_of_thinking)\|>|"
    r"<\|START_THINKING\|>|<unused94>(?:thought)?",
    re.IGNORECASE,
)
_CLOSE = re.compile(
    rf"</\s*{_NAMES}\s*>|\[/{_NAMES}\]|◁/think▷|<\|(?:end_of_thought|end_of_thinking)\|>|<\|END_THINKING\|>|<unused95>",
    re.IGNORECASE,
)
_MARK = re.compile(f"(?P<open>{_OPEN.pattern})|(?P<close>{_CLOSE.pattern})", re.IGNORECASE)
# gpt-oss: <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…
_CHANNEL = re.compile(r"(?:<\|start\|>\s*\w*\s*)?<\|channel\|>\s*([^<]*?)\s*<\|message\|>", re.IGNORECASE)
_FINAL = re.compile(r"(?:assistant)?\s*\b(?:final|response)\b", re.IGNORECASE)
_TAIL = re.compile(r"(?:<\|(?:end|return|eot_id|im_end|end_of_text|endoftext|eom_id)\|>|</s>|<end_of_turn>)\s*\Z")
_BOX = re.compile(
    r"\A<(answer|final_answer|final|response|output|result)>(.*)</\1>\Z|"
    r"\A<\|(?:begin_of_(?:box|solution)|START_RESPONSE)\|>(.*?)(?:<\|(?:end_of_(?:box|solution)|END_RESPONSE)\|>)?\Z|"
    r"\A\[BEGIN FINAL RESPONSE\](.*?)(?:\[END FINAL RESPONSE\])?\Z",
    re.DOTALL | re.IGNORECASE,
)
_FENCE = re.compile(r"\A(`{3,}|~{3,})[ \t]*([\w+-]*)[ \t]*\r?\n(.*?)\r?\n?[ \t]*\1\Z", re.DOTALL)
_BROKEN = re.compile(r'\{\s*"')  # a brace that begins an object; others are prose
_OBJECTS_MOST = 50  # starts that are tried in a reply
_DECODER = json.JSONDecoder(
    object_pairs_hook=lambda pairs: _unique(pairs), parse_constant=lambda constant: _not_json(constant)
)


@dataclass(frozen=True)
class Read:
    """The content of a reply, and how it was found.

    Attributes:
        text: the answer; empty if there is none.
        how: what was taken off, in order: ``reasoning``, ``unclosed-reasoning``, ``channel``, ``end-token``, ``box``,
            ``fence``, ``prose``.
        reasoning: the text of all blocks of reasoning.
    """

    text: str
    how: tuple[str, ...] = ()
    reasoning: str = ""

    @property
    def is_unclosed(self) -> bool:
        """True if a reasoning block has no end, so that no answer can be found."""
        return "unclosed-reasoning" in self.how


def answer(reply: str) -> Read:
    """The answer of a reply, without reasoning and end markers."""
    text, how = reply.strip(), list[str]()
    while tail := _TAIL.search(text):
        text = text[: tail.start()].rstrip()
        how = how or ["end-token"]
    text, thought, more = _without_channels(text)
    how += more
    while (cut := _reasoning_end(text)) is not None:
        thought += text[:cut]
        text = text[cut:].strip()
        how.append("reasoning")
    if _OPEN.match(text):
        return Read("", (*dict.fromkeys(how), "unclosed-reasoning"), thought + text)
    if box := _BOX.match(text):
        text = next(inner for inner in box.groups()[1:] if inner is not None).strip()
        how.append("box")
    return Read(text, tuple(dict.fromkeys(how)), thought)


def _without_channels(text: str) -> tuple[str, str, list[str]]:
    """The final channel of a reply in gpt-oss's format, and the others; other text unchanged."""
    marks = list(_CHANNEL.finditer(text))
    if not marks or marks[0].start():
        return text, "", []
    final, thought = "", ""
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        content = text[mark.end() : following.start() if following else None]
        content = re.sub(r"<\|(?:end|return)\|>\s*\Z", "", content.strip()).strip()
        if _FINAL.match(mark[1]):
            final = content
        else:
            thought += content
    return (final, thought, ["channel"]) if final else ("", thought, ["channel", "unclosed-reasoning"])


def _reasoning_end(text: str) -> int | None:
    """End of the reasoning at the start of a text; None without reasoning, or if it has no end.

    Chat templates may put the first tag into the prompt, so an end without a start ends what began with the text.
    """
    depth, last = 0, None
    began = _OPEN.match(text) is not None
    for mark in _MARK.finditer(text):
        if mark["open"]:
            depth += 1
            if not began:
                return None  # prose, then a block: not what the text begins with
            continue
        depth -= 1
        last = mark.end()
        if depth <= 0 and (began or not _inside_object(text, mark.start())):
            return mark.end()
        if not began:
            return None
    return last


def _inside_object(text: str, at: int) -> bool:
    """True if a position is in the JSON object at the start of a text, so that a tag there is content."""
    found = next(_objects(text, first_only=True), None)
    return found is not None and found[0] <= at < found[1]


def json_object(reply: str, keys: frozenset[str] = frozenset()) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    """The only JSON object of a reply with all the keys, and how it was found.

    Args:
        keys: that it must have; where several objects have them, none is taken.

    Returns:
        None if there is no such object, or more than one.
    """
    read = answer(reply)
    text, how = read.text, read.how
    if read.is_unclosed:  # nothing but the very last thing of it can be the answer
        thought = read.reasoning
        last = [value for _, end, value in _objects(thought) if _is_end(thought[end:]) and keys <= {*value}]
        return (last[-1], how) if last else None
    if fenced := _FENCE.match(text):
        text, how = fenced[3].strip(), (*how, "fence")
    whole = _decode(text)
    if whole is not None:
        return (whole, how) if keys <= {*whole} else None
    found = [value for _, _, value in _objects(text) if keys <= {*value}]
    return (found[0], (*how, "prose")) if len(found) == 1 else None


def unfenced(text: str) -> tuple[str, tuple[str, ...]]:
    """A text without the code fence around it."""
    found = _FENCE.match(text.strip())
    return (found[3].strip(), ("fence",)) if found else (text.strip(), ())


def _is_end(rest: str) -> bool:
    return not rest.strip().strip("`~").strip()


def _decode(text: str) -> dict[str, Any] | None:
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not text[end:].strip() else None


def _objects(text: str, *, first_only: bool = False) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Top-level JSON objects in a text: (start, end, value)."""
    at = 0
    for _ in range(1 if first_only else _OBJECTS_MOST):
        at = text.find("{", at)
        if at < 0:
            return
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            if _BROKEN.match(text, at):
                return  # its content is not all that was meant
            at += 1
            continue
        if isinstance(value, dict):
            yield at, end, value
        at = end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key occurs twice")
    return made


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
