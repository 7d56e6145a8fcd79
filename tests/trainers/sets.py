"""Data that trainers are given: the shards of a run, as `prefgen mix` leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cli.runs import called as prefgen
from tests.formats.written import picture, write_lines

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "examples" / "scenes"


def swift_row(number: int, **changes: object) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"<image>\nWhat is in picture {number}?"},
            {"role": "assistant", "content": f"A red star {number}."},
        ],
        "images": ["1.png"],
        "rejected_response": f"A blue bar {number}.",
        **changes,
    }


def awkward_rows() -> list[dict[str, Any]]:
    """Two pictures, a system turn, several turns, a tag in the text, another script."""
    turn = swift_row(0)["messages"]
    two = [{"role": "user", "content": "<image>\nThis, or that:\n<image>\nWhich is red?"}, turn[1]]
    earlier = [*turn, {"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Still."}]
    return [
        swift_row(1, images=["1.png", "2.png"], messages=two),
        swift_row(2, messages=[{"role": "system", "content": "Be brief."}, *turn]),
        swift_row(3, messages=earlier, rejected_response="No more."),
        swift_row(4, rejected_response="The tag ‹image› stands for it, and <video> for none."),
        swift_row(5, messages=[turn[0], {"role": "assistant", "content": "Ein roter Stern, 星。"}]),
    ]


def preferences_between_pictures(folder: Path) -> Path:
    """A finished run: six rows of the scenes whose picture is rejected, and six whose answer is."""
    scenes = ("-i", SCENES / "llava_instruct.json", "--limit", "6")
    for arguments in (
        ("bdhs", *scenes, "-m", "fake", "--engine", "fake", "-o", folder / "answers"),
        ("povid", "--pairs", "image", *scenes, "-o", folder / "pictures"),
        ("mix", folder / "pictures", folder / "answers", "-o", folder / "both"),
    ):
        done = prefgen(*arguments)
        assert done.returncode == 0, done.stderr
    return folder / "both"


def mixture(folder: Path) -> Path:
    """A finished run: twelve rows of the scenes by the fake engine, and `awkward_rows`."""
    for number in (1, 2):
        (folder / f"{number}.png").write_bytes(picture(number).data)
    awkward = write_lines(folder / "awkward.jsonl", awkward_rows())
    scenes = ("-i", SCENES / "llava_instruct.json", "-m", "fake", "--engine", "fake", "--limit", "12")
    for arguments in (
        ("bdhs", *scenes, "-o", folder / "bdhs"),
        ("import", "ms-swift", awkward, "-o", folder / "awkward"),
        ("mix", folder / "bdhs", folder / "awkward", "--shard-size", "6", "-o", folder / "mixture"),
    ):
        done = prefgen(*arguments)
        assert done.returncode == 0, done.stderr
    return folder / "mixture"
