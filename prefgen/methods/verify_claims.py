"""Verification of finished pairs: an open model checks the claims of both answers, and rules say which pairs stay.

The claims are those of `prefgen.methods.claims` (RLAIF-V, arXiv:2405.17220), which scores sampled answers by them; here
they judge pairs that are there already, of whatever method. By default a pair stays if every claim of its chosen answer
holds and a claim of its rejected answer does not.

Where the pictures are what is rejected, both answers are the same: the chosen one is checked against the picture, the
rejected one against the rejected picture.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from prefgen import options
from prefgen.methods.base import settings
from prefgen.methods.claims import CheckedClaim, Claims, Splitter
from prefgen.methods.prompts import Template
from prefgen.records import Dropped, Outcome, Pair, Sample, StoredSample
from prefgen.requests import Flow, Generate, Reply, Request

Side = Literal["both", "chosen", "rejected"]
_Checked = dict[str, list[CheckedClaim]]


@dataclass(frozen=True)
class VerifyClaims:
    """Options of the filter.

    Attributes:
        prompt: asks for the claims of an answer, see `prefgen.methods.claims.Claims`.
        answers: whose claims are checked.
        chosen_holds: least share of the chosen answer's claims that hold.
        rejected_fails: least number of claims that do not hold in the rejected answer, beyond those in the chosen one.
        threshold: see `prefgen.methods.claims.CheckedClaim`.
        claims_from, claim_suffix, claim_tokens: as in `prefgen.methods.claims.Claims`.
        seed: the run's seed.
    """

    name: ClassVar[str] = "verify-claims"

    prompt: Template
    answers: Side = options.option("both", help="Answers whose claims are checked")
    chosen_holds: float = options.option(
        1.0, help="Least share of the chosen answer's claims that hold.", low=0.0, high=1.0
    )
    rejected_fails: int = options.option(
        1, help="Least number of claims that fail in the rejected answer, beyond those that fail in the chosen.", low=0
    )
    threshold: float = options.option(
        0.5, "--claim-threshold", help="A claim holds from this probability on.", low=0.0, high=1.0
    )
    claims_from: Splitter = options.option("annotator", help="What splits an answer into claims")
    claim_suffix: str = options.option(" Please answer yes or no.", help="Added to every question.")
    claim_tokens: int = options.option(1024, help="Limit of a list of claims.", panel=options.TEXT, low=1)
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        options.check(self)
        self.claims()

    @property
    def asks(self) -> tuple[type[Request], ...]:
        """The types of request that split and check; the model that checks is loaded as the one that generates."""
        return (*self.claims().asks, Generate)

    def claims(self) -> Claims:
        """The splitter and checker of claims."""
        return Claims(
            self.claims_from,
            self.prompt,
            "rejected",
            self.claim_suffix,
            self.claim_tokens,
            self.seed,
            self.threshold,
        )

    def __call__(self, sample: Sample) -> Flow:
        """Check the claims of a stored pair, and keep or drop it."""
        assert isinstance(sample, StoredSample)
        checked = yield from self._checked(sample)
        if without := [side for side, claims in checked.items() if not claims]:
            return Dropped.of(sample, "ANSWER_NO_CLAIMS", f"no claim can be read of the {without[0]} answer")
        return self._decided(sample, checked) or Pair(
            sample=sample,
            method=self.name,
            variant=self.answers,
            chosen=sample.answer or "",
            rejected=sample.rejected,
            iteration=1,
            similarity=None,
            seed=self.seed,
            params=settings(self),
            record={"claims": {side: [each.record() for each in claims] for side, claims in checked.items()}},
        )

    def _checked(self, sample: StoredSample) -> Generator[tuple[Request, ...], tuple[Reply, ...], _Checked]:
        claims, texts = self.claims(), {"chosen": sample.answer or "", "rejected": sample.rejected}
        sides = [side for side in texts if self.answers in ("both", side)]
        if not sample.rejected_images:
            found = yield from claims.check(sample, [texts[side] for side in sides])
            return dict(zip(sides, found, strict=True))
        checked: _Checked = {}
        for side in sides:
            shown = sample if side == "chosen" else replace(sample, images=sample.rejected_images)
            (checked[side],) = yield from claims.check(shown, [texts[side]])
        return checked

    def _decided(self, sample: Sample, checked: _Checked) -> Outcome | None:
        """The sample, dropped, if a rule is against its pair."""
        failing = {side: [each for each in claims if not each.holds] for side, claims in checked.items()}
        if "chosen" in checked:
            total = len(checked["chosen"])
            if total - len(failing["chosen"]) < self.chosen_holds * total:
                told = f"{len(failing['chosen'])} of {total} fail: {_shown(failing['chosen'])}"
                return Dropped.of(sample, "ANSWER_CLAIMS_FAIL", told)
        if "rejected" in checked:
            more = len(failing["rejected"]) - len(failing.get("chosen", ()))
            if more < self.rejected_fails:
                total = len(checked["rejected"])
                told = (
                    f"{len(failing['rejected'])} of {total} fail, in the chosen answer {len(failing.get('chosen', ()))}"
                )
                weakest = sorted(checked["rejected"], key=lambda each: each.probability)[:1]
                return Dropped.of(sample, "REJECTED_CLAIMS_HOLD", f"{told}; the least likely: {_shown(weakest)}")
        return None

    def explain(self, image_tokens: float) -> tuple[tuple[str, str], ...]:
        """Lines of the plan that describe the checks and the rules."""
        rules = []
        if self.answers != "rejected":
            rules.append(f"at least {self.chosen_holds:.0%} of the chosen answer's claims hold")
        if self.answers != "chosen":
            beyond = " beyond those that fail in the chosen one" if self.answers == "both" else ""
            rules.append(f"at least {self.rejected_fails} of the rejected answer's claims fail{beyond}")
        return (
            ("method", f"{self.name}, split by {self.claims_from}, a claim holds from p {self.threshold:g} on"),
            ("kept", "; ".join(rules)),
        )

    def rehearse(self, sample: Sample) -> tuple[str, ...]:
        """The request for the claims of the chosen answer."""
        if self.claims_from == "sentences":
            return ()
        turns = self.claims().asked(sample, sample.answer or "…")
        return ("what splits an answer is asked", *(f"[{turn.role}] {turn.text}" for turn in turns))


def _shown(claims: Sequence[CheckedClaim]) -> str:
    return ", ".join(f"{each.claim.text[:80]!r} p {each.probability:.2f}" for each in claims[:3])
