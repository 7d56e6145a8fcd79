"""The proof on the scenes: its statistics, its corrupter, and that asking in one go changes no reply."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import prove
import prove_pairs
import pytest
from examine import Examiner
from prove_figure import captions, figure, plane, tables
from prove_report import count, report, verdict
from scene_corrupt import corrupt
from scene_paired import auc, difference, holm, mcnemar, sign_flips
from transformers import AutoModelForImageTextToText, AutoProcessor

from prefgen.errors import UsageError
from prefgen.evaluate.scenes.claims import claims_of, read
from prefgen.evaluate.scenes.heldout import CAPTION_QUESTION, heldout
from prefgen.evaluate.scenes.language import detail
from prefgen.evaluate.scenes.measure import responder
from prefgen.evaluate.scenes.metrics import first_sentences
from prefgen.evaluate.scenes.sample import TRAINING, absent_partners, sample_scene
from prefgen.evaluate.scenes.truth import KINDS, TEXT_STREAM

SCENES = Path(prove.__file__).parent


def test_mcnemar_counts_the_scenes_that_changed() -> None:
    before = np.array([True] * 6 + [False] * 1 + [True, False])
    after = np.array([False] * 6 + [True] * 1 + [True, False])
    fixed, broke, p = mcnemar(before, after)
    assert (fixed, broke) == (6, 1)
    assert p == pytest.approx(2 * (1 + 7) / 2**7)
    assert mcnemar(before, before) == (0, 0, 1.0)


@pytest.mark.parametrize(("fixed", "broke"), [(0, 5), (38, 15), (22, 24), (12, 12)])
def test_mcnemar_is_the_binomial_test(fixed: int, broke: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    before = np.array([True] * fixed + [False] * broke)
    expected = stats.binomtest(fixed, fixed + broke).pvalue
    assert mcnemar(before, ~before)[2] == pytest.approx(expected)


def test_a_difference_is_of_ratios_of_sums_and_its_interval_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    shown = rng.integers(1, 4, size=200)
    before = np.stack([rng.binomial(shown, 0.4), shown])
    after = np.stack([rng.binomial(shown, 0.2), shown])
    found = difference(before, after)
    assert found.value == pytest.approx(after[0].sum() / shown.sum() - before[0].sum() / shown.sum())
    plain = []
    for _ in range(4000):
        rows = rng.integers(200, size=200)
        plain.append((after[0, rows].sum() - before[0, rows].sum()) / shown[rows].sum())
    assert [found.low, found.high] == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.008)
    same = difference(before, before)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_an_interval_is_of_scenes_and_of_trainings() -> None:
    """Trainings that differ widen it, as far as a bootstrap of both does by hand."""
    rng = np.random.default_rng(2)
    shown = np.full(300, 4)
    before = np.stack([rng.binomial(shown, 0.3), shown])
    alike = np.stack([np.stack([rng.binomial(shown, 0.3), shown])] * 3)
    unlike = np.stack([np.stack([rng.binomial(shown, rate), shown]) for rate in (0.1, 0.3, 0.5)])
    narrow, wide = (difference(before, after) for after in (alike, unlike))
    assert narrow == difference(before, alike[0], resamples=10_000)
    plain = []
    for _ in range(4000):
        rows, drawn = rng.integers(300, size=300), rng.integers(3, size=3)
        after = unlike[drawn][:, :, rows].sum(axis=(0, 2))
        plain.append(after[0] / after[1] - before[0, rows].sum() / before[1, rows].sum())
    assert [wide.low, wide.high] == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.01)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_sign_flips_are_the_paired_permutation_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    before = rng.binomial(2, 0.2, size=200)
    after = np.stack([rng.binomial(2, rate, size=200) for rate in (0.15, 0.1)])
    expected = stats.permutation_test(
        (after.mean(axis=0), before), lambda x, y: (x - y).mean(), permutation_type="samples", n_resamples=20_000, rng=4
    )
    assert sign_flips(before, after) == pytest.approx(expected.pvalue, abs=0.01)
    assert sign_flips(before, before[None]) == 1


def test_holm_corrects_for_the_number_of_tests() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # its paper's order, R's p.adjust
    assert holm([0.6, 0.9]) == pytest.approx([1, 1])
    assert holm([]) == []


def test_auc_is_the_share_of_pairs_in_order() -> None:
    assert auc(np.array([3.0, 1.0]), np.array([2.0, 1.0, 0.0])) == pytest.approx((3 + 1.5) / 6)


def test_sentences_are_cut_off_behind_their_end() -> None:
    assert first_sentences("A star. A ring! More?", 2) == "A star. A ring!"
    assert first_sentences("A star.", 5) == "A star."


@pytest.mark.parametrize("index", range(200))
def test_the_corrupter_always_contradicts_the_scene(index: int) -> None:
    scene = sample_scene(TRAINING, 7, index)
    said = detail(scene, scene.rng(TEXT_STREAM))
    changed = corrupt(said, np.random.default_rng(index))
    assert read(said) <= claims_of(scene)
    assert not read(changed) <= claims_of(scene), f"{said!r} became {changed!r}"


def test_every_sort_of_corruption_occurs_and_what_has_no_thing_is_refused() -> None:
    found = set()
    for index in range(60):
        scene = sample_scene(TRAINING, 8, index)
        said = detail(scene, scene.rng(TEXT_STREAM))
        false = read(corrupt(said, np.random.default_rng(index))) - claims_of(scene)
        found |= {claim.attribute for claim in false if claim.subject in scene.kinds}
        found |= {"partner" for claim in false if claim.subject in absent_partners(scene)}
    assert {"colour", "count", "action", "surface", "partner"} <= found
    with pytest.raises(ValueError, match="no kind of thing in 'Yes"):
        corrupt("Yes.", np.random.default_rng(0))


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """The base model's answers about eight scenes."""
    model = AutoModelForImageTextToText.from_pretrained(SCENES / "model").eval()
    processor = AutoProcessor.from_pretrained(SCENES / "model")
    items = heldout(8)
    respond = responder(model, processor)
    pictures = [item.picture() for item in items]
    attributes = [(scene, each) for scene in range(3) for each in items[scene].attributes]
    probes = [(scene, each) for scene, item in enumerate(items) for each in item.probes]
    return {
        "items": items,
        "answers": vars(Examiner(model, processor).examine(items, 8, 3)),
        "captions": respond(pictures, [CAPTION_QUESTION] * 8, 200),
        "attributes": respond([pictures[n] for n, _ in attributes], [each.question for _, each in attributes], 40),
        "probes": respond([pictures[n] for n, _ in probes], [each.question for _, each in probes], 40),
    }


def test_all_questions_behind_one_picture_get_the_replies_of_stock_generate(told: dict[str, Any]) -> None:
    answers = told["answers"]
    assert answers["captions"] == told["captions"]
    assert answers["attributes"] == told["attributes"]
    assert [reply.split(",")[0].strip(".") for reply in told["probes"]] == answers["probes"]
    assert [margin > 0 for margin in answers["margins"]] == [word == "Yes" for word in answers["probes"]]
    assert all(0.2 < end <= 1 for end in answers["ends"])


def test_the_base_model_is_no_better_than_itself(told: dict[str, Any]) -> None:
    answers, items = told["answers"], told["items"]
    found = report({"same": [answers, answers]}, answers, items)
    arm = found["arms"]["same"]
    assert all(change["value"] == change["low"] == change["high"] == 0 for change in arm["changes"].values())
    assert arm["verdict"] == {"better": False, "recall_kept": 2, "quarter_off_chair_i": 0, "seeds": 2, "goal": False}
    assert arm["p"] == 1
    assert arm["mean"] == pytest.approx(found["base"]["figures"])
    json.dumps(found, allow_nan=False)
    drawn = ElementTree.fromstring(figure(found))
    assert len([part for part in drawn if part.tag.endswith("circle")]) == 3 * (2 + 1)
    dots = [part for part in ElementTree.fromstring(plane(found)) if part.tag.endswith("circle")]
    assert len({(dot.get("cx"), dot.get("cy")) for dot in dots}) == 1  # the arm lies on the base model
    assert len(dots) == 2
    assert captions(found).splitlines()[3].startswith("| 1 | same | ")
    assert captions(found).splitlines()[3].endswith(" | 0 of 2 | 2 of 2 |")


def test_a_caption_that_invents_a_partner_is_counted(told: dict[str, Any]) -> None:
    items, base = told["items"], told["answers"]
    scene = next(n for n, item in enumerate(items) if any(probe.split == "absent-adversarial" for probe in item.probes))
    partner = next(kind for kind in absent_partners(items[scene].scene) if kind in KINDS)
    captions = [detail(item.scene, item.scene.rng(TEXT_STREAM)) for item in items]
    base = {**base, "captions": list(captions)}
    captions[scene] += f" There is a red {partner} on the left."
    counted, before = (count({**base, "captions": texts}, base, items) for texts in (captions, base["captions"]))
    assert counted.partners[scene] == before.partners[scene] + 1
    assert counted.figures["chair_i"] > before.figures["chair_i"]
    assert counted.figures["chair_i_matched"] == before.figures["chair_i_matched"]  # the added sentence is cut off


def test_a_verdict_needs_fewer_partners_and_the_goal_both_in_every_seed() -> None:
    def arm(p: float, partner: float, *seeds: tuple[float, float]) -> dict[str, Any]:
        changes = [{"object_recall": {"value": recall}} for recall, _ in seeds]
        together = {"object_recall": changes[0]["object_recall"], "partner_hallucination": {"value": partner}}
        told = [{"changes": each, "figures": {"chair_i": c}} for each, (_, c) in zip(changes, seeds, strict=True)]
        return {"p": p, "changes": together, "seeds": told}

    base = {"chair_i": 0.06}
    good = verdict(arm(0.01, -0.03, (-0.009, 0.044), (0.0, 0.045)), base)
    assert good["better"]
    assert good["goal"]
    for worse in ((-0.011, 0.044), (0.0, 0.046)):
        assert not verdict(arm(0.01, -0.03, (0.0, 0.04), worse), base)["goal"]
    assert not verdict(arm(0.06, -0.03, (0.0, 0.04)), base)["better"]
    assert not verdict(arm(0.01, 0.03, (0.0, 0.04)), base)["better"]
    assert not verdict(arm(0.01, -0.03, (-0.011, 0.04)), base)["better"]


def test_an_arm_is_made_trained_asked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {name: replace(each, rows=12) for name, each in prove_pairs.METHODS.items()}
    monkeypatch.setattr(prove_pairs, "METHODS", rows)
    for name in ("PROBED_SCENES", "ATTRIBUTE_SCENES"):
        monkeypatch.setattr(prove, name, 2)
    half = prove.Arm("bdhs+append", mask="spans", steps=2, count=8)
    online = replace(prove.ARMS["bdhs, online"], steps=2, count=8)
    monkeypatch.setattr(prove, "ARMS", {"half": half, "online": online})
    run, items = prove.Run(tmp_path), heldout(4)

    def stamps() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.suffix in (".parquet", ".json")}

    found = prove.prove(run, items, ["half"], [0])
    assert set(found["arms"]) == {"half"}
    found = prove.prove(run, items, seeds=[0])
    assert set(found["arms"]) == {"half", "online"}
    before = stamps()
    assert prove.prove(run, items, seeds=[0]) == found
    assert {file for file, stamp in stamps().items() if before[file] != stamp} == {tmp_path / "proof.json"}
    monkeypatch.setattr(prove, "ARMS", {"half": half, "online": half})
    with pytest.raises(UsageError, match="of other settings than online has"):
        prove.prove(run, items, seeds=[0])
    assert not list(tmp_path.rglob("model.safetensors"))
    assert not math.isnan(found["arms"]["half"]["mean"]["chair_i"])
    assert (tmp_path / "proof.md").read_text() == tables(found)
