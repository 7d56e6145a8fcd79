from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from prefgen.methods.bdhs import BDHS
from prefgen.records import Image, Sample, Slot, Turn
from prefgen.view.page import preview
from tests.handmade import finished_run, pair, picture, sample
from tests.view.sets import HOSTILE, made


class Tags(HTMLParser):
    """The elements of a page, and the texts of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if self.names and self.names[-1] in ("script", "style"):
            self.scripts.append(data)


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_a_page_of_a_sample(tmp_path: Path) -> None:
    html = preview(finished_run(tmp_path / "out"), 5)
    data = data_of(html)
    assert data["total"] == 12
    assert [row["position"] for row in data["rows"]] == [0, 3, 6, 8, 11]
    row = data["rows"][0]
    assert "".join(text for text, _ in row["rejected"]) == "A red car drives by. The wall is green."
    assert row["prompt"] == [["user", "▣ What is on the table?"]]
    assert "5 of 12 pairs" in html
    assert html.count('<svg class="plot"') == 4


def test_the_same_data_makes_the_same_page(tmp_path: Path) -> None:
    out = finished_run(tmp_path / "out")
    assert preview(out) == preview(out)


def test_the_page_asks_nobody_for_anything(tmp_path: Path) -> None:
    tags = parsed(preview(finished_run(tmp_path / "out")))
    addresses = [value for name, value in tags.attributes if name in ("src", "href", "action", "srcset")]
    assert addresses == ["data:,"]
    policy = next(value for name, value in tags.attributes if name == "content" and value and "default-src" in value)
    assert policy
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert "connect-src" not in policy
    assert not [name for name, _ in tags.attributes if name == "style" or name.startswith("on")]


def test_the_policy_names_every_script_by_digest(tmp_path: Path) -> None:
    html = preview(finished_run(tmp_path / "out"))
    inline = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", html, re.DOTALL)
    assert len(inline) == 4
    for text in inline:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in html


def test_hostile_text_adds_no_element(tmp_path: Path) -> None:
    assert len({*HOSTILE}) == 50
    evil = "".join(HOSTILE)
    harmless = preview(made(tmp_path / "out", [pair(flags=("flag", "media-tag"))]))
    turn = Turn("user", (Slot.IMAGE, evil))
    hostile = pair(
        prompt=(turn,),
        sample=sample(0, (turn,), source=evil, source_id=evil, images=(picture(0, f"a/{evil.replace('/', '|')}"),)),
        chosen=evil,
        rejected=evil[::-1],
        flags=(evil,),
        method=evil,
        variant=evil,
        spans=(),
        cuts=(),
        finish=(),
    )
    found = parsed(preview(made(tmp_path / "<script>alert(1)<", [hostile])))
    assert found.names == parsed(harmless).names


def test_pictures_are_small_and_carry_nothing_but_pixels(tmp_path: Path) -> None:
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x010E] = "51.5 N, 0.1 W"
    PIL.Image.new("RGB", (1000, 500), "red").save(file, "JPEG", exif=exif, comment=b"51.5 N, 0.1 W")
    large: Sample = sample(0, images=(Image(file.getvalue(), "a.jpg", 1000, 500),))
    address = data_of(preview(made(tmp_path / "out", [pair(sample=large)])))["rows"][0]["images"][0]["plain"]
    content = base64.b64decode(address.partition("base64,")[2])
    with PIL.Image.open(io.BytesIO(content)) as shown:
        assert (shown.format, shown.size) == ("WEBP", (320, 160))
    assert b"51.5" not in content


@pytest.mark.parametrize(("variant", "masked", "noised"), [("attn", True, False), ("noise", False, True)])
def test_masks_and_noise_are_drawn_again(tmp_path: Path, variant: str, masked: bool, noised: bool) -> None:
    method = BDHS(variant=variant, rho=0.9)  # type: ignore[arg-type]  # one of the three
    kept = int(method.view(f"{0:016x}", 1).mask(64).sum())
    made_pair = pair(params={**vars(method)}, variant=variant, image_tokens=64, kept_tokens=kept)
    row = data_of(preview(made(tmp_path / "out", [made_pair])))["rows"][0]
    assert (row["mask"] is not None) == masked
    assert (row["images"][0]["noisy"] is not None) == noised
    if masked:
        assert row["mask"]["side"] == 8
        assert len(row["mask"]["kept"]) == kept


def test_claims_and_their_verdicts_are_shown_with_each_answer(tmp_path: Path) -> None:
    claim = {"text": "There is a car.", "question": "Is there a car?", "expects": "yes", "p_yes": 0.25, "holds": False}
    broken = {"claims": {"chosen": [{"text": "There is a bowl."}], "rejected": [claim]}}
    run = made(tmp_path / "out", [pair(0, record=broken), pair(1), pair(2, record={"claims": "none"})])
    shown = [row["claims"] for row in data_of(preview(run))["rows"]]
    del claim["expects"]
    assert shown == [{"rejected": [claim]}, {}, {}]
