from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefgen.methods.bdhs import BDHS
from prefgen.records import Pair, Slot, Turn
from prefgen.rundir.schema import storable
from prefgen.view.page import preview
from prefgen.view.server import Server
from tests.browser import BINARY, Browser
from tests.handmade import pair, picture, sample
from tests.view.sets import HOSTILE, made, mixed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BINARY is None, reason="no Chromium on PATH: apt-get install chromium"),
]
IDS = "[...document.querySelectorAll('.card')].map((card) => Number('0x' + card.dataset.id))"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile") / "profile") as opened:
        yield opened


@pytest.fixture(params=["static", "live"])
def page(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Path]:
    """A data set of 12 pairs, opened in the browser."""
    out = mixed(tmp_path / "out")
    with serving(out) as url:
        static = tmp_path / "preview.html"
        static.write_text(preview(out))
        browser.events.clear()
        browser.open(url if request.param == "live" else static.as_uri())
        yield out


class serving:
    """The live page of a data set, while the context lasts."""

    def __init__(self, out: Path) -> None:
        self.server = Server(out)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self) -> str:
        self.thread.start()
        return self.server.url

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def complaints(browser: Browser) -> list[object]:
    """Errors, refusals of the policy, and dialogs."""
    browser.run("0")
    kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening")
    return [event for event in browser.events if event.get("method") in kinds]


def shows(browser: Browser, ids: list[int]) -> None:
    """Wait until these rows, in this order, are on the page."""
    browser.wait(f"JSON.stringify({IDS}) === '{json.dumps(ids, separators=(',', ':'))}'")


def test_it_opens_filters_and_sorts(page: Path, browser: Browser) -> None:
    shows(browser, [*range(12)])
    browser.wait("[...document.images].slice(0, 2).every((image) => image.complete && image.naturalWidth === 4)")
    browser.fill("flag", "similar")
    shows(browser, [0, 4, 8])
    browser.fill("iteration", "2")
    shows(browser, [4])
    browser.click("button[type=reset]")
    browser.wait(f"{IDS}.length === 12")
    browser.fill("search", "ZEBRA")
    shows(browser, [5])
    browser.fill("search", "")
    browser.fill("low", "0.7")
    browser.fill("sort", "similarity")
    shows(browser, [4, 2, 1, 0])
    browser.click("#descending")
    browser.wait(f"{IDS}[0] === 0")
    browser.fill("search", "nowhere")
    browser.wait("at('message').textContent === 'No pair is like that. Reset shows all again.'")
    assert not complaints(browser)


def test_the_count_follows_and_hits_are_marked(page: Path, browser: Browser) -> None:
    whole = browser.run("at('count').textContent")
    assert whole == "12 pairs"
    browser.fill("search", "zEBRa")
    shows(browser, [5])
    assert browser.run("at('count').textContent") == "1 of 12 pairs"
    marked = browser.run("[...document.querySelectorAll('.hit')].map((mark) => mark.textContent).join(' ')")
    assert marked.lower().replace(" ", "") == "zebra"
    browser.fill("search", "nowhere")
    browser.wait("at('count').textContent === '0 of 12 pairs'")
    browser.fill("search", "a.*[(")
    browser.wait("at('message').textContent")
    browser.click("button[type=reset]")
    browser.wait("at('count').textContent === '12 pairs' && !document.querySelector('.hit')")
    assert not complaints(browser)


def test_votes_can_be_asked_for(page: Path, browser: Browser) -> None:
    browser.press("1")
    browser.wait("votes.size === 1")
    browser.fill("vote", "good")
    shows(browser, [0])
    browser.fill("vote", "none")
    shows(browser, [*range(1, 12)])
    browser.fill("vote", "any")
    shows(browser, [0])
    browser.fill("vote", "bad")
    browser.wait("at('count').textContent === '0 of 12 pairs'")
    assert not complaints(browser)


def test_a_link_leads_to_its_row(tmp_path: Path, browser: Browser) -> None:
    out = made(tmp_path / "many", [pair(n) for n in range(45)])
    with serving(out) as url:
        browser.open(f"{url}#{33:016x}")
        browser.wait(f"document.querySelector('.card.current')?.dataset.id === '{33:016x}'")
        assert browser.run("at('where').textContent") == "21 – 40 of 45"
        browser.click(".card .row")
        browser.wait("location.hash === '#' + state.rows[0].id")
        browser.run("location.hash = 'nothing'")
        browser.wait("at('message').textContent.includes('No pair with the id nothing')")
        assert browser.run("document.querySelectorAll('.card').length") == 20


def test_a_picture_opens_in_full_size(page: Path, browser: Browser) -> None:
    browser.wait("document.querySelector('.open img')?.complete")
    browser.click(".open")
    browser.wait("at('full').open && at('full').querySelector('img').complete")
    assert browser.run("at('full').querySelector('img').naturalWidth") == 4
    browser.click("#full")
    browser.wait("!at('full').open")
    assert not complaints(browser)


def test_on_a_phone_the_first_pair_is_on_the_first_screen(page: Path, browser: Browser) -> None:
    metrics = "Emulation.setDeviceMetricsOverride"
    browser.call(metrics, width=390, height=780, deviceScaleFactor=1, mobile=True)
    try:
        browser.open(browser.run("location.href"))
        browser.wait("document.querySelector('.open img')?.complete")
        ends = "document.querySelector('.card .rejected .text, .card .text').getBoundingClientRect().top"
        assert browser.run(ends) < 780
        assert browser.run("getComputedStyle(at('tools')).display") == "none"
        browser.click("#filters")
        assert browser.run("getComputedStyle(at('tools')).display") != "none"
        assert browser.run("document.documentElement.scrollWidth") <= 390
    finally:
        browser.call(metrics, width=1280, height=900, deviceScaleFactor=1, mobile=False)


def test_keys_move_and_vote(page: Path, browser: Browser) -> None:
    for key in "1j2j3k":
        browser.press(key)
    browser.wait("votes.size === 3")
    assert browser.run("state.current") == 1
    assert browser.run("at('voted').textContent") == "3 voted"
    assert browser.run("[...votes.values()]") == ["good", "bad", "tie"]
    csv = (page / ".prefgen" / "votes.csv") if browser.run("data.live") else None
    stored = csv.read_text() if csv else browser.run("source.csv()")
    assert [line.split(",")[2:5] for line in stored.splitlines()[1:]] == [
        ["good", "no", "chosen first"],
        ["bad", "no", "chosen first"],
        ["tie", "no", "chosen first"],
    ]
    if csv:
        browser.open(browser.run("location.href"))  # they are still there at the next visit
        browser.wait("votes.size === 3")
        assert browser.run("document.querySelectorAll('.votes [aria-pressed=true]').length") == 3
    browser.press("m")
    assert browser.run("document.body.className") == "masked"
    browser.press("m")
    browser.press("/")
    browser.press("j")
    assert browser.run("at('search').value") == "j"
    assert not complaints(browser)


def test_blind_votes_name_no_side_and_are_turned_back(page: Path, browser: Browser) -> None:
    browser.press("b")
    assert browser.run("document.querySelectorAll('.badge, .chosen .text, .rejected .text').length") == 0
    orders = browser.run("state.rows.map(rejectedFirst)")
    assert {*orders} == {True, False}
    for place in range(4):
        browser.press("1")  # A is better
        browser.wait(f"votes.size === {place + 1}")
        assert browser.run(f"votes.get(state.rows[{place}].id)") == ("bad" if orders[place] else "good")
        browser.press("j")
    shown = browser.run("document.querySelector('.card .text').textContent")
    assert shown == browser.run(f"joined(state.rows[0].{'rejected' if orders[0] else 'chosen'})")
    assert not complaints(browser)


def hostile(number: int, text: str) -> Pair:
    turn = Turn("user", (Slot.IMAGE, text))
    return pair(
        number,
        sample=sample(number, (turn,), source=text, source_id=text),
        chosen=f"{text} chosen",
        rejected=f"{text} rejected",
        flags=(text,),
        variant=text,
        spans=(),
        cuts=(),
        finish=(),
    )


@pytest.mark.parametrize("live", [False, True])
def test_no_hostile_text_runs_a_script(browser: Browser, tmp_path: Path, live: bool) -> None:
    out = made(tmp_path / "<img src=x onerror=window.pwned=1>", [*map(hostile, range(50), HOSTILE)])
    static = tmp_path / "preview.html"
    static.write_text(preview(out, 50))
    browser.events.clear()
    with serving(out) as url:
        browser.open(url if live else static.as_uri())
        seen = 0
        while True:
            seen += browser.run("state.rows.length")
            shown = browser.run("[...document.querySelectorAll('.card .prompt')].map((turn) => turn.textContent)")
            assert shown == [f"▣ {storable(text)}".strip() for text in HOSTILE[seen - len(shown) : seen]]
            browser.press("b")
            browser.press("b")
            assert browser.run("document.scripts.length") == 4
            assert browser.run("document.querySelectorAll('iframe, object, embed, video, audio, base').length") == 0
            if browser.run("at('next').disabled"):
                break
            asked = browser.run("state.start")
            browser.press("n")
            browser.wait(f"state.start > {asked}")
    assert seen == 50
    browser.run("new Promise((done) => setTimeout(done, 300))")
    assert browser.run("typeof window.pwned") == "undefined"
    assert not complaints(browser)


def test_a_script_that_got_onto_the_page_would_not_run(page: Path, browser: Browser) -> None:
    """The second line of defence: the policy alone stops what escaping would have let through."""
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.pwned=1>');"
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.pwned=1'}))"
    )
    browser.run("new Promise((done) => setTimeout(done, 200))")
    assert browser.run("typeof window.pwned") == "undefined"
    assert "Content Security Policy" in str(complaints(browser))


def test_light_and_dark_follow_the_system_and_the_button(page: Path, browser: Browser, tmp_path: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    browser.prefer("dark")
    browser.wait("document.documentElement.className === 'dark'")
    dark = browser.run(colour)
    browser.prefer("light")
    browser.wait("document.documentElement.className === 'light'")
    light = browser.run(colour)
    assert light != dark
    browser.click("#theme")
    assert browser.run(colour) == dark
    browser.click("#theme")
    assert browser.run(colour) == light
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.parametrize("width", [1280, 700, 390])
def test_nothing_sticks_out_of_the_window(page: Path, browser: Browser, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    try:
        assert browser.run("document.documentElement.scrollWidth") <= width
    finally:
        browser.call("Emulation.setDeviceMetricsOverride", **{**size, "width": 1280})


def test_masks_lie_over_the_central_square_and_noise_can_be_seen(browser: Browser, tmp_path: Path) -> None:
    method = BDHS(variant="both", rho=0.9)
    kept = int(method.view(f"{0:016x}", 1).mask(64).sum())
    wide = sample(0, images=(picture(0, "wide.png", 400, 200),))
    row = pair(sample=wide, params=dataclasses.asdict(method), image_tokens=64, kept_tokens=kept)
    static = tmp_path / "preview.html"
    static.write_text(preview(made(tmp_path / "out", [row])))
    browser.open(static.as_uri())
    browser.wait("document.querySelector('.grid').style.inset")  # it has been laid over the loaded picture
    assert browser.run("document.querySelector('.grid .kept').getAttribute('d').split('M').length - 1") == kept
    places = "['.grid', '.frame'].map((name) => document.querySelector(name).getBoundingClientRect().toJSON())"
    grid, frame = browser.run(places)
    assert grid["width"] == pytest.approx(frame["width"] / 2)
    assert grid["height"] == pytest.approx(frame["height"])
    assert grid["left"] - frame["left"] == pytest.approx(frame["width"] / 4)
    browser.press("i")
    browser.wait("document.images[0].complete && document.images[0].naturalWidth === 112")
    browser.wait("document.querySelector('.grid').style.inset === '0%'")
    grid, frame = browser.run(places)
    assert grid["width"] == pytest.approx(frame["width"])
    browser.press("i")
    browser.wait("document.images[0].complete && document.images[0].naturalWidth === 320")


def test_verdicts_on_claims_stand_below_an_answer_but_not_when_voting_blind(browser: Browser, tmp_path: Path) -> None:
    def claim(text: str, p_yes: float) -> dict[str, object]:
        return {"text": text, "question": "Is it?", "expects": "yes", "p_yes": p_yes, "holds": p_yes >= 0.5}

    record = {"claims": {"chosen": [claim(HOSTILE[0], 0.75)], "rejected": [claim("There is a car.", 0.25)]}}
    with serving(made(tmp_path / "out", [pair(record=record)])) as url:
        browser.open(url)
        shows(browser, [0])
        lines = "[...document.querySelectorAll('.claims li')].map((line) => line.innerText)"
        assert browser.run(lines) == [f"{HOSTILE[0]}holds, p(yes) 0.75", "There is a car.rejected, p(yes) 0.25"]
        browser.press("b")
        assert browser.run(lines) == []
