"""The page that describes the world: its tables, and what they come to in scenes.

python examples/scenes/world_page.py --out examples/scenes/world.md
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from prefgen.evaluate.scenes.layout import possible_kinds
from prefgen.evaluate.scenes.pen import PAINTERS
from prefgen.evaluate.scenes.sample import (
    BONDS,
    LIGHT_WEIGHTS,
    PLACE_WEIGHTS,
    TRAINING,
    TYPICAL_COUNT,
    UNBIASED,
    UNUSUAL_SHARE,
    USUAL,
    WEATHER_WEIGHTS,
    Bond,
    sample_scene,
)
from prefgen.evaluate.scenes.truth import IMAGE_SIZE, KINDS, PLACES, Scene

SCENES, SEED = 600, 0  # of each world, for the shares on the page
INTRODUCTION = """# The world

![24 scenes of the training world with their captions](contact_sheet.webp)

Pictures of {size} x {size} pixels, drawn by `prefgen/evaluate/scenes`: {kinds} kinds of things in {places} places. What
makes a thing hard to see is natural: it is small, far, half hidden, in the dusk, in fog or in rain. In the *training*
world things go together as the tables below say; {share:.0%} of its scenes come from the *unbiased* world, where what
can be in a place is there equally often, colours are drawn evenly and partners stay away.
`python examples/scenes/world_page.py` writes this page; its shares are those of {scenes} scenes of each world.
"""


def page() -> str:
    """The page as Markdown."""
    biased, unbiased = ([sample_scene(world, SEED, index) for index in range(SCENES)] for world in (TRAINING, UNBIASED))
    introduction = INTRODUCTION.format(
        size=IMAGE_SIZE, kinds=len(KINDS), places=len(PLACES), share=TRAINING.unbiased_share, scenes=SCENES
    )
    return "\n".join(
        [
            introduction,
            "## Places\n",
            f"Kinds with their weights; {UNUSUAL_SHARE:.0%} of the draws are for others that are possible.\n",
            table(("place", "weight", "usual there", "possible"), map(place_row, PLACES)),
            "## What comes with what\n",
            f"Where one of the two is drawn, the other comes along with probability {TRAINING.partner_probability}"
            f" ({UNBIASED.partner_probability} in the unbiased world). The last columns are the share of"
            " the scenes with the second kind that have the first.\n",
            table(
                ("first", "relation", "second", "where", "training", "unbiased"),
                (bond_row(bond, biased, unbiased) for bond in BONDS),
            ),
            "## Kinds\n",
            f"The first colour is typical: drawn with probability {TRAINING.typical_colour_probability}, otherwise any"
            f" of them. The typical number is drawn with {TRAINING.typical_count_probability}, otherwise 1 to 3.\n",
            table(("kind", "category", "colours", "typical number", "does", "drawings"), map(kind_row, KINDS)),
            "## Light and weather\n",
            ", ".join(f"{name} {weight}" for name, weight in (LIGHT_WEIGHTS | WEATHER_WEIGHTS).items())
            + ". No weather indoors, no snow at the sea.\n",
        ]
    )


def place_row(place: str) -> Sequence[object]:
    """A place with its weight and kinds."""
    usual = USUAL[place]
    ordered = sorted(usual, key=lambda kind: -usual[kind])
    return (
        place,
        PLACE_WEIGHTS[place],
        ", ".join(f"{kind} {usual[kind]}" for kind in ordered),
        len(possible_kinds(place)),
    )


def bond_row(bond: Bond, biased: list[Scene], unbiased: list[Scene]) -> Sequence[object]:
    """A bond with the share of scenes in which both are there."""
    shares = []
    for scenes in (biased, unbiased):
        found = [s for s in scenes if bond.second in s.kinds and (not bond.places or s.place in bond.places)]
        shares.append(f"{sum(bond.first in scene.kinds for scene in found) / max(len(found), 1):.2f}")
    words = " or ".join(bond.words) or "(none)"
    return bond.first, words, bond.second, ", ".join(bond.places) or "everywhere", *shares


def kind_row(name: str) -> Sequence[object]:
    """A kind with what it looks like."""
    kind = KINDS[name]
    drawings = sum(len(painters) for (drawn, _), painters in PAINTERS.items() if drawn == name)
    actions = ", ".join(kind.actions)
    return name, kind.category, ", ".join(kind.colours), TYPICAL_COUNT.get(name, 1), actions, drawings


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="Markdown file")
    parser.parse_args().out.write_text(page())


if __name__ == "__main__":
    main()
