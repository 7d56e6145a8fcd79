"""Pilot runs of BDHS over values of one option on the same samples, and a recommendation.

The rule: of the values whose answers stay near the reference in length and do not talk of blur, the weakest restriction
whose share of non-similar answers, averaged over the iterations, is near the best. Hiding more than it takes only makes
answers that have less to do with the picture. The last iteration alone says little: its answer is a free one, which
differs however much is seen. No rule replaces a look at the pairs.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from statistics import mean

from rich.table import Table

from prefgen import sources
from prefgen.card import summary
from prefgen.driver import drive
from prefgen.engines import build
from prefgen.engines.base import EngineConfig, Engines
from prefgen.errors import UsageError
from prefgen.images import load_images
from prefgen.linting.answers import BLUR
from prefgen.methods.bdhs import BDHS
from prefgen.options import flag
from prefgen.records import Outcome, Pair, Sample
from prefgen.sources import SourceOptions
from prefgen.sources.finding import Inputs
from prefgen.sources.reasons import Reasons, listed, note

MARK = b"prefgen tune"  # in the head of every drawing
NEAR_BEST = 0.03  # of the share: two rows of a pilot of 60
LENGTH_DRIFT = 0.25
BLUR_TALK = 0.01


@dataclass(frozen=True)
class Trial:
    """Results of one value.

    Attributes:
        method: BDHS with it.
        setting: in words, such as ``ρ = 0.99``.
        pairs: of all `rows` of the pilot.
        non_similar: figure 10 of the paper, as in `prefgen.card.summary.Summary`.
        kept_tokens: image tokens that stayed visible, mean over pairs, of `image_tokens`.
        length_ratio: mean length of the rejected answers by that of their references, in characters.
        blur_talk: share of rejected answers that talk of the picture's quality. Both None without a pair.
        tokens: generated for a pair.
        seconds: spent on one, in a batch with the others.
    """

    method: BDHS
    setting: str
    rows: int
    pairs: int
    non_similar: tuple[float, ...]
    kept_tokens: float
    image_tokens: float
    length_ratio: float | None
    blur_talk: float | None
    tokens: float
    seconds: float

    @property
    def level(self) -> float:
        """Mean of `non_similar` over the iterations."""
        return mean(self.non_similar) if self.non_similar else 0.0


def settings(name: str, text: str, make: Callable[..., BDHS]) -> list[tuple[str, BDHS]]:
    """BDHS with each value of an option, the weakest restriction first; each with its setting in words.

    Args:
        name: ``rho``, ``keep_tokens`` or ``noise_steps``.
        text: numbers with commas between them.
        make: BDHS from the options that differ.

    Raises:
        UsageError: the text is no list of such numbers, or a number is out of range.
    """
    kind = float if name == "rho" else int
    try:
        values = sorted({kind(value) for value in text.split(",")}, reverse=name == "keep_tokens")
    except ValueError:
        raise UsageError(f"{flag(name)} {text!r} should be numbers with commas between them") from None
    variant = "noise" if name == "noise_steps" else BDHS.variant
    said = {"rho": "ρ = {:g}", "keep_tokens": "{:g} tokens", "noise_steps": "N = {:g}"}[name]
    return [(said.format(value), make(variant=variant, **{name: value})) for value in values]


def pilot(
    methods: Sequence[tuple[str, BDHS]], input: Inputs, source: SourceOptions, config: EngineConfig
) -> Iterator[Trial]:
    """Run each value on the samples of an input, with the models loaded once.

    Args:
        methods: each with its setting in words.

    Raises:
        UsageError: the input has no usable row, or the engine cannot run a method.
    """
    config, _ = build.resolve(config, BDHS.asks)
    build.hush(config, BDHS.asks)
    for _, method in methods:
        build.check_view(config, method.view("", 1))
    build.settle_similarity(config, BDHS.asks, recorded=False)
    build.identify(config, BDHS.asks)
    samples = _samples(input, source)
    yield from run(methods, samples, build.build(config, BDHS.asks))


def _samples(input: Inputs, source: SourceOptions) -> list[Sample]:
    """The samples of an input, with loaded images.

    Raises:
        UsageError: if there is none.
    """
    root = source.root(input)
    samples: list[Sample] = []
    reasons: Reasons = {}
    for row in sources.read(input, source):
        loaded = load_images(row, root, None) if isinstance(row, Sample) else row
        if isinstance(loaded, Sample):
            samples.append(loaded)
        else:
            note(reasons, loaded)
    if not samples:
        raise UsageError(
            f"{sources.shown(input)} has no row with an answer and an image that is there:\n{listed(reasons)}"
        )
    return samples


def run(methods: Sequence[tuple[str, BDHS]], samples: Sequence[Sample], engines: Engines) -> Iterator[Trial]:
    """Run each value on the same samples with the same engines.

    Args:
        methods: each with its setting in words.
        samples: images loaded.
    """
    for setting, method in methods:
        started = time.monotonic()
        outcomes = [outcome for _, outcome in drive(samples, method, engines)]
        yield measure(method, setting, outcomes, time.monotonic() - started)


def measure(method: BDHS, setting: str, outcomes: Sequence[Outcome], seconds: float) -> Trial:
    """The figures of one value, from the outcomes of all rows."""
    pairs = [outcome for outcome in outcomes if isinstance(outcome, Pair)]
    accepted = Counter(
        (outcome.iteration, outcome.similarity < method.similarity_threshold)
        for outcome in outcomes
        if outcome.similarity is not None
    )
    count = max(len(pairs), 1)
    chosen = sum(len(pair.chosen) for pair in pairs)
    return Trial(
        method,
        setting,
        len(outcomes),
        len(pairs),
        summary.cumulative(accepted, method.iterations),
        mean(pair.kept_tokens for pair in pairs) if pairs else 0.0,
        mean(pair.image_tokens for pair in pairs) if pairs else 0.0,
        sum(len(pair.rejected) for pair in pairs) / chosen if pairs else None,
        sum(bool(BLUR.search(pair.rejected)) for pair in pairs) / count if pairs else None,
        sum(outcome.tokens for outcome in outcomes) / count,
        seconds / count,
    )


def recommend(trials: Sequence[Trial]) -> tuple[Trial, str] | None:
    """The recommended trial and the reason; None if no trial gave a pair.

    Args:
        trials: the weakest restriction first.
    """
    useful = [trial for trial in trials if trial.non_similar and trial.length_ratio is not None]
    if not useful:
        return None
    sound = [trial for trial in useful if _is_sound(trial)]
    best = max(trial.level for trial in sound or useful)
    chosen = next(trial for trial in sound or useful if trial.level >= best - NEAR_BEST)
    reason = (
        f"the weakest restriction within {NEAR_BEST * 100:.0f} points of the best mean over the iterations, {best:.1%}"
    )
    if not sound:
        reason += "; but every setting changes lengths or talks of blur"
    elif len(sound) < len(useful):
        left_out = ", ".join(trial.setting for trial in useful if trial not in sound)
        reason += f"; {left_out} left out, for length or talk of blur"
    return chosen, reason


def _is_sound(trial: Trial) -> bool:
    return abs((trial.length_ratio or 0.0) - 1) <= LENGTH_DRIFT and (trial.blur_talk or 0.0) <= BLUR_TALK


def render(trials: Sequence[Trial]) -> Table:
    """The trials as a table for the terminal."""
    iterations = trials[0].method.iterations
    shares = f"non-similar after 1…{iterations}"
    headings = ("setting", "visible", "pairs", shares, "length", "blur", "tokens", "seconds")
    table = Table(box=None, collapse_padding=True, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for trial in trials:
        table.add_row(
            trial.setting,
            f"{trial.kept_tokens:.1f}",
            f"{trial.pairs:,}",
            " ".join(f"{share:.0%}" for share in trial.non_similar),
            "–" if trial.length_ratio is None else f"{trial.length_ratio:.2f}",
            "–" if trial.blur_talk is None else f"{trial.blur_talk:.1%}",
            f"{trial.tokens:.1f}",
            f"{trial.seconds:.2f}",
        )
    return table


def to_json(trial: Trial) -> dict[str, object]:
    """All figures of a trial; the method as its options."""
    return {**dataclasses.asdict(trial), "method": dict(vars(trial.method))}


# --- the plot -------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 420, 60, 40, 170, 50  # pixels
_INK, _GRID = "#333333", "#dddddd"
# Light to dark: the weaker the restriction, the lighter its line.
_LIGHT, _DARK = (116, 169, 207), (88, 24, 69)


def plot(trials: Sequence[Trial]) -> str:
    """Figure 10 as SVG: a line for each trial, its share of non-similar answers after each iteration."""
    shown = [trial for trial in trials if trial.non_similar]
    iterations = max((len(trial.non_similar) for trial in shown), default=1)
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def across(iteration: float) -> float:
        return _LEFT + (right - _LEFT) * ((iteration - 1) / (iterations - 1) if iterations > 1 else 0.5)

    def up(share: float) -> float:
        return bottom - (bottom - _TOP) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="13" fill="{_INK}">',
        f"<!-- {MARK.decode()} -->",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">Answers that are no longer similar, after each iteration</text>',
    ]
    for percent in range(0, 101, 20):
        y = up(percent / 100)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent}%</text>')
    parts += [
        f'<text x="{across(iteration):.1f}" y="{bottom + 20}" text-anchor="middle">{iteration}</text>'
        for iteration in range(1, iterations + 1)
    ]
    parts.append(f'<text x="{(_LEFT + right) / 2:.0f}" y="{bottom + 40}" text-anchor="middle">iteration</text>')
    labels = _apart([up(trial.non_similar[-1]) for trial in shown], up(1.0))
    for place, (trial, y) in enumerate(zip(shown, labels, strict=True)):
        colour = _colour(place / max(len(shown) - 1, 1))
        points = [(across(number), up(share)) for number, share in enumerate(trial.non_similar, start=1)]
        line = " ".join(f"{x:.1f},{height:.1f}" for x, height in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{height:.1f}" r="3" fill="{colour}"/>' for x, height in points]
        end_x, end_y = points[-1]
        parts.append(f'<line x1="{end_x:.1f}" y1="{end_y:.1f}" x2="{right + 20}" y2="{y:.1f}" stroke="{_GRID}"/>')
        label = f"{trial.setting}: {trial.non_similar[-1]:.1%}"
        parts.append(f'<text x="{right + 24}" y="{y + 4:.1f}" fill="{colour}">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _apart(heights: Sequence[float], top: float, gap: float = 17.0) -> list[float]:
    """Heights of labels, each as close to its own as possible without overlap."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = [0.0] * len(heights)
    above = top - gap
    for place in order:
        above = max(heights[place], above + gap)
        placed[place] = above
    return placed


def _colour(share: float) -> str:
    mixed = (round(light + share * (dark - light)) for light, dark in zip(_LIGHT, _DARK, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)
