"""Checks of answers: yes/no balance, refusals, mentions of blur, left-over tags, unknown words, scripts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import regex

from prefgen.linting import thresholds
from prefgen.linting.findings import EXAMPLES, Example, Finding, Level, RowTally, shorten
from prefgen.linting.rows import PairRow
from prefgen.text import REFUSAL, Pattern

_YES_NO = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)
BLUR = Pattern(
    r"\b(blurr?(y|ed|iness)|pixel(l?ated|ation)|grainy|out of focus|low[- ]resolution|distort(ed|ion)|static noise|"
    r"(visual|image|random) noise|noisy (image|picture|photo)|(too|very) (dark|noisy) to|no image (is|was|has)|"
    r"(cannot|can['’]t|unable to) see (the|any) (image|picture|photo))\b",
    ignore_case=True,
    signs=(
        *("blur", "pixel", "grainy", "out of focus", "resolution", "distort"),
        *("noise", "noisy", " dark to", "no image", "see the ", "see any "),
    ),
)
_TAG = re.compile(
    r"</?s>|<pad>|<unk>|<\|[^|<>]{1,40}\|>|\[/?INST\]|<</?SYS>>|[<‹](image|video|audio)[>›]|<im_(start|end)>|"
    r"</?(think|answer|rejected|chosen|hallucination|wrong|correct)>|\b(USER|ASSISTANT|HUMAN):|#{2,} ?(Human|Assistant|"
    r"Response|Instruction)|[\[(](incorrect|hallucinat\w*|corrupt\w*|modified|wrong|fake|rejected)[\])]|"
    r"^\s*(rejected|corrupted|incorrect|hallucinated|modified)( (answer|response|caption|text))?:"
)
_TAG_SIGN = re.compile(r"[<‹\[(#:]")  # every tag has one, and few answers do
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_ASCII_WORD = re.compile("[a-z]+(?:'[a-z]+)*")  # the same for ASCII, faster
_ROWS_OF_A_WORD_MAX = 2  # more than once is all that matters
_SCRIPTS = {
    name: regex.compile(rf"\p{{Script={name}}}")
    for name in ("Latin", "Han", "Cyrillic", "Arabic", "Devanagari", "Hangul", "Hiragana", "Katakana", "Thai", "Greek")
}
_SCRIPT_CHARS = 300  # at the beginning of a text
_FOREIGN_LETTERS = 3  # fewer are a name or a symbol
_JAPANESE = ("Hiragana", "Katakana")


class YesNo:
    """Answers that start with yes or no: a one-sided set teaches the word instead of looking."""

    def __init__(self) -> None:
        self._said: Counter[tuple[str, str]] = Counter()
        self._rows = RowTally()

    def see(self, row: PairRow) -> None:
        """Count the first words of a pair."""
        chosen, rejected = _leading(row.chosen), _leading(row.rejected)
        if chosen or rejected:
            self._said[chosen, rejected] += 1
            self._rows.add(row, f"{row.chosen[:50]} | {row.rejected[:50]}")

    def findings(self, rows: int) -> Iterator[Finding]:
        """The balance of yes and no on both sides."""
        shares = []
        for side, name in enumerate(("chosen", "rejected")):
            said = Counter[str]()
            for words, count in self._said.items():
                said[words[side]] += count
            answers = said["yes"] + said["no"]
            if answers >= thresholds.YES_NO_ROWS:
                shares.append((name, said["yes"] / answers, answers))
        low, high = thresholds.YES_SHARE
        one_sided = any(not low <= share <= high for _, share, _ in shares)
        described = "; ".join(f"yes in {share:.0%} of {count:,} {name}" for name, share, count in shares)
        swapped = f"{self._said['yes', 'no']:,} from yes to no, {self._said['no', 'yes']:,} from no to yes"
        yield self._rows.finding(
            "yes-no",
            "warning" if one_sided else "info",
            rows,
            f"{described}; {swapped}" if shares else "too few answers start with yes or no to speak of a balance",
            "Add pairs of the other kind: a policy can win by always giving the more frequent answer."
            if one_sided
            else "",
        )


def _leading(text: str) -> str:
    match = _YES_NO.match(text)
    return match[1].lower() if match else ""


class AnswerKinds:
    """Phrases that do not belong in answers, or occur on one side only."""

    def __init__(self) -> None:
        self._found = {name: (RowTally(), RowTally()) for name in ("refusals", "blur-talk", "tags")}

    def see(self, row: PairRow) -> None:
        """Look for each kind of phrase in both answers."""
        for name, pattern in (("refusals", REFUSAL), ("blur-talk", BLUR), ("tags", _TAG)):
            for tally, text in zip(self._found[name], (row.chosen, row.rejected), strict=True):
                match = pattern.search(text) if pattern is not _TAG or _TAG_SIGN.search(text) else None
                if match:
                    tally.add(row, text[max(match.start() - 40, 0) : match.end() + 60])

    def findings(self, rows: int) -> Iterator[Finding]:
        """One finding for each kind."""
        level: Level
        for name, share, noun, advice in (
            (
                "refusals",
                thresholds.REFUSAL_SHARE,
                "refuse",
                "Filter them: the pair teaches to refuse, or not to, and nothing about the picture.",
            ),
            (
                "blur-talk",
                thresholds.BLUR_SHARE,
                "talk of blur, noise or a missing picture",
                "Use attention masks or less noise (--variant attn, --noise-steps); the policy would learn that such "
                "talk is bad, not to look.",
            ),
            ("tags", thresholds.TAG_SHARE, "hold a tag or label", "Remove the tags: they give the pair away."),
        ):
            chosen, rejected = self._found[name]
            more, less = sorted((chosen, rejected), key=lambda tally: -tally.count)
            one_sided = more.count > thresholds.ONE_SIDED * less.count
            level = "info"
            if name == "tags":
                level = "error" if more.count >= share * rows and one_sided else "warning"
            elif more.count >= share * rows and (one_sided or name == "refusals"):
                level = "warning"
            yield more.finding(
                name,
                level,
                rows,
                f"{chosen.count:,} chosen and {rejected.count:,} rejected answers {noun}",
                "" if level == "info" else advice,
                of_generation=name == "blur-talk",
            )


class UnknownWords:
    """Words of rejected answers that occur in no prompt and no chosen answer: typos, garble, inventions.

    What is natural is measured on the chosen answers themselves: the share of their words that are in no other row.
    """

    def __init__(self) -> None:
        self._rows_with: dict[str, int] = {}
        self._chosen_words: Counter[str] = Counter()
        self._rejected_words: Counter[str] = Counter()
        self._examples: dict[str, Example] = {}  # of words that were unknown so far

    def see(self, row: PairRow) -> None:
        """Count the words of a row."""
        chosen = _words(row.chosen)
        self._chosen_words.update(chosen)
        for word in {*chosen, *_words(row.prompt)}:
            self._rows_with[word] = min(self._rows_with.get(word, 0) + 1, _ROWS_OF_A_WORD_MAX)
        rejected = _words(row.rejected)
        self._rejected_words.update(rejected)
        for word in rejected:
            if word not in self._rows_with and word not in self._examples:
                self._examples[word] = Example(row.id, word)

    def findings(self, rows: int) -> Iterator[Finding]:
        """Unknown words, compared with the expected number."""
        unknown = Counter({word: n for word, n in self._rejected_words.items() if word not in self._rows_with})
        share = unknown.total() / max(self._rejected_words.total(), 1)
        once = sum(count for word, count in self._chosen_words.items() if self._rows_with[word] == 1)
        natural = once / max(self._chosen_words.total(), 1)
        grave = share >= thresholds.UNKNOWN_WORDS and share >= thresholds.UNKNOWN_RATIO * natural
        common = unknown.most_common(thresholds.TELLING_WORDS)
        words = ", ".join(f"“{shorten(word)}” {count:,}" for word, count in common)
        yield Finding(
            "unknown-words",
            "warning" if grave else "info",
            unknown.total(),
            share,
            f"{share:.2%} of rejected words are in no prompt and no chosen answer; {natural:.2%} of chosen words "
            f"are in one row only{'; ' + words if words else ''}",
            "Lower --temperature or --top-p: garbled words are easier to recognise than wrong facts." if grave else "",
            tuple(self._examples[word] for word, _ in common[:EXAMPLES]),
            of_generation=True,
        )


def _words(text: str) -> list[str]:
    lower = text.lower()
    return (_ASCII_WORD if lower.isascii() else _WORD).findall(lower)


class Scripts:
    """Answers in another script than their counterpart."""

    def __init__(self) -> None:
        self._mixed = RowTally()
        self._scripts: Counter[str] = Counter()

    def see(self, row: PairRow) -> None:
        """Compare the scripts of a pair."""
        chosen, rejected = script(row.chosen), script(row.rejected)
        self._scripts[chosen] += 1
        if chosen and rejected and chosen != rejected:
            self._mixed.add(row, row.rejected)

    def findings(self, rows: int) -> Iterator[Finding]:
        """Number of pairs that change script, and the scripts found."""
        seen = ", ".join(f"{name or 'none'} {count / rows:.1%}" for name, count in self._scripts.most_common(4))
        yield self._mixed.finding(
            "script",
            thresholds.SCRIPT_SHARE,
            rows,
            f"{self._mixed.count:,} rejected answers are in another script than the chosen one; chosen: {seen}",
            "Filter them: the language would be the lesson.",
        )


def script(text: str) -> str:
    """The script of most letters at the start of the text; empty without letters."""
    beginning = text[:_SCRIPT_CHARS]
    if beginning.isascii():
        return "Latin" if any(character.isalpha() for character in beginning) else ""
    counts = {name: len(pattern.findall(beginning)) for name, pattern in _SCRIPTS.items()}
    if any(counts[kana] >= _FOREIGN_LETTERS for kana in _JAPANESE):
        return "Japanese"
    most = max(counts, key=lambda name: counts[name])
    return most if counts[most] else ""
