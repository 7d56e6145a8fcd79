"""Algorithm 1 against canned replies: no model, no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefgen.errors import UsageError
from prefgen.methods.bdhs import BDHS, PRESETS
from prefgen.records import Dropped, Image, Outcome, Pair, Sample, Slot, Turn
from prefgen.requests import Completion, Embed, Generate, Reply, Vector
from prefgen.text import split_sentences

ANSWER = "Yes, there is a red cat. It sits on a mat.\n\n- one apple\nDone."


def sample(answer: str | None = ANSWER, identifier: str = "s1") -> Sample:
    prompt = (Turn("user", (Slot.IMAGE, "Is there a cat?")),)
    return Sample(identifier, prompt, (Image(b"x", "x.png", 2, 2),), answer, "test", "row 1")


def canned(request: Generate) -> Completion:
    return Completion(" something new.", "stop", 3, 64, 1)


class Script:
    """Answers a flow: completions from a function, the similarities from a list."""

    def __init__(self, similarities: list[float], complete: Callable[[Generate], Completion] = canned) -> None:
        self.generated: list[tuple[Generate, ...]] = []
        self.embedded: list[str] = []
        self._similarities = iter([1.0, *similarities])
        self._complete = complete

    def run(self, method: BDHS, what: Sample) -> Outcome:
        flow = method(what)
        replies: tuple[Reply, ...] | None = None
        while True:
            try:
                requests = flow.send(replies) if replies is not None else next(flow)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            replies = tuple(self._reply(request) for request in requests)
            if isinstance(requests[0], Generate):
                self.generated.append(requests)  # type: ignore[arg-type]

    def _reply(self, request: object) -> Reply:
        if isinstance(request, Embed):
            self.embedded.append(request.text)
            cosine = next(self._similarities)
            return Vector(np.array([cosine, np.sqrt(1 - cosine**2)], dtype=np.float32))
        assert isinstance(request, Generate)
        return self._complete(request)


def pair(outcome: Outcome) -> Pair:
    assert isinstance(outcome, Pair), outcome
    return outcome


def test_the_first_answer_below_the_threshold_is_taken() -> None:
    script = Script([0.98, 0.97, 0.96])
    made = pair(script.run(BDHS(), sample()))
    assert made.iteration == 3
    assert made.similarity == pytest.approx(0.96)
    assert made.flags == ()
    assert [len(requests) for requests in script.generated] == [4, 4, 4]
    assert made.tokens == 3 * 4 * 3


def test_the_reference_is_embedded_once() -> None:
    script = Script([0.99, 0.5])
    script.run(BDHS(), sample())
    assert script.embedded.count(ANSWER) == 1
    assert len(script.embedded) == 3


def test_the_last_iteration_drops_the_guidance_and_the_check() -> None:
    script = Script([0.99] * 4 + [0.995], lambda request: Completion(f"Free {len(request.prefix)}.", "eos", 2, 64, 0))
    made = pair(script.run(BDHS(), sample()))
    (free,) = script.generated[-1]
    assert (free.prefix, free.stop) == ("", "end")
    assert (made.iteration, made.rejected, made.cuts) == (5, "Free 0.", ())
    assert set(made.flags) == {"similar", "unguided", "blind"}
    assert made.rejected[made.spans[0].start : made.spans[0].end] == "Free 0."


def test_with_one_iteration_the_guided_answer_is_returned_unchecked() -> None:
    script = Script([0.999])
    made = pair(script.run(BDHS(iterations=1), sample()))
    assert made.cuts
    assert "similar" in made.flags


def test_similar_last_answers_can_be_dropped() -> None:
    outcome = Script([0.999]).run(BDHS(iterations=1, drop_similar=True), sample())
    assert isinstance(outcome, Dropped)
    assert (outcome.reason, outcome.similarity) == ("REJECTED_SIMILAR", 0.999)


def test_without_guidance_every_iteration_generates_the_whole_answer() -> None:
    script = Script([0.99, 0.9])
    made = pair(script.run(BDHS(guidance=False), sample()))
    assert made.iteration == 2
    assert [requests[0].stop for requests in script.generated] == ["end", "end"]


def test_every_sentence_is_completed_after_its_reference_context() -> None:
    script = Script([0.5])
    method = BDHS()
    script.run(method, sample())
    (requests,) = script.generated
    starts = [0, 25, 44, 56]
    assert [request.open_at for request in requests] == starts
    for request, start in zip(requests, starts, strict=True):
        assert request.prefix[:start] == ANSWER[:start]
        assert request.stop == "sentence"
        assert request.view == method.view("s1", 1)
    assert len({request.seed for request in requests}) == 4


def test_the_rejected_answer_keeps_every_prefix_and_the_layout() -> None:
    made = pair(Script([0.5]).run(BDHS(seed=3), sample()))
    assert len(made.spans) == len(made.cuts) == len(made.finish) == 4
    kept = made.rejected
    for span in reversed(made.spans):
        assert made.rejected[span.start : span.end].strip() == "something new."
        kept = kept[: span.start] + "▏" + kept[span.end :]
    assert kept.count("▏") == 4
    assert "\n\n- one" in kept or "\n\n-▏" in kept
    for swap in made.swaps:
        assert made.rejected[swap.start : swap.end] in ("Yes", "No")


@given(
    st.text(alphabet=st.sampled_from('abYesNo3. \n"!?。是म।-'), min_size=1, max_size=50).filter(
        lambda text: bool(text.strip())
    ),
    st.text(max_size=8),
    st.integers(0, 5),
)
def test_kept_prefixes_stand_verbatim_and_spans_match_what_was_generated(answer: str, words: str, seed: int) -> None:
    method, what = BDHS(seed=seed, iterations=1), sample(answer)
    script = Script([0.5], lambda request: Completion(f" {words}.", "stop", 3, 64, 1))
    outcome = script.run(method, what)
    if isinstance(outcome, Dropped):
        assert outcome.reason == "REJECTED_EQUALS_CHOSEN"
        return
    made, at = pair(outcome), 0
    sentences = split_sentences(answer)
    assert len(made.spans) == len(sentences) == len(made.cuts)
    for k, (sentence, span) in enumerate(zip(sentences, made.spans, strict=True)):
        cut = method.cut(sentence, "s1", 1, k)
        assert made.rejected[at : span.start] == cut.prefix
        assert made.rejected[span.start : span.end] == (f" {words}." if cut.prefix else f"{words}.".lstrip()).rstrip()
        assert made.cuts[k] == sentence.start + cut.offset
        at = span.end + len(sentence.tail)
        assert made.rejected[span.end : at] == sentence.tail
    assert at == len(made.rejected)


def test_yes_is_swapped_in_half_of_the_draws() -> None:
    made = [pair(Script([0.5]).run(BDHS(seed=seed), sample("Yes, it is so."))) for seed in range(200)]
    swapped = [one for one in made if one.rejected.startswith("No")]
    assert 75 <= len(swapped) <= 125
    assert all(one.swaps and one.rejected.startswith("No,") for one in swapped)


def test_a_one_word_answer_is_its_swap() -> None:
    complete = lambda request: Completion("." if request.prefix else " Maybe.", "stop", 1, 64, 1)  # noqa: E731
    answers = {pair(Script([0.5], complete).run(BDHS(seed=seed), sample("Yes."))).rejected for seed in range(20)}
    assert answers == {"No.", "Maybe."}


def test_draws_differ_between_samples_iterations_and_seeds_only() -> None:
    views = [BDHS(seed=seed).view(name, i) for seed in (0, 1) for name in ("a", "b") for i in (1, 2)]
    assert len({view.mask_seed for view in views}) == 8
    assert BDHS(temperature=0.3).view("a", 1) == BDHS(top_p=0.5).view("a", 1)


def test_variants_restrict_what_they_should() -> None:
    attn, noise, both = (BDHS(variant=variant).view("s", 1) for variant in ("attn", "noise", "both"))
    assert (attn.rho, attn.noise_steps) == (0.99, 0)
    assert (noise.rho, noise.noise_steps, noise.masks) == (0.0, 500, False)
    assert (both.rho, both.noise_steps) == (0.99, 500)


def test_an_answer_that_did_not_change_is_no_pair() -> None:
    outcome = Script([1.0] * 5, lambda request: Completion(f" {ANSWER} ", "eos", 1, 64, 1)).run(BDHS(), sample())
    assert isinstance(outcome, Dropped)
    assert outcome.reason == "REJECTED_EQUALS_CHOSEN"


def test_an_empty_answer_is_no_pair() -> None:
    outcome = Script([0.1], lambda request: Completion(" ", "eos", 1, 64, 1)).run(
        BDHS(guidance=False, iterations=1), sample()
    )
    assert isinstance(outcome, Dropped)
    assert outcome.reason == "REJECTED_EMPTY"


@pytest.mark.parametrize("answer", [None, "", " \n"])
def test_a_sample_without_a_reference_is_dropped(answer: str | None) -> None:
    outcome = Script([]).run(BDHS(), sample(answer))
    assert isinstance(outcome, Dropped)
    assert outcome.reason == "ANSWER_EMPTY"


def test_literal_fidelity_stops_at_the_first_full_stop() -> None:
    script = Script([0.5])
    script.run(BDHS(fidelity="paper"), sample())
    assert {request.stop for request in script.generated[0]} == {"full-stop"}


def test_a_completion_cut_by_the_token_limit_is_flagged() -> None:
    made = pair(Script([0.5], lambda request: Completion(" and on", "length", 128, 64, 1)).run(BDHS(), sample()))
    assert made.flags == ("length",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 1.5}, r"--rho 1\.5 is outside 0 … 1"),
        ({"rho": float("nan")}, "--rho nan"),
        ({"iterations": 0}, "--iterations 0"),
        ({"noise_steps": 1000, "schedule": "code"}, "--noise-steps 1000 is outside 0 … 999"),
        ({"variant": "attention"}, "--variant 'attention' is unknown; choose from attn, noise, both"),
    ],
)
def test_constants_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BDHS(**options)  # type: ignore[arg-type]


def test_defaults_are_the_papers() -> None:
    method = BDHS()
    assert (method.rho, method.noise_steps, method.iterations, method.similarity_threshold) == (0.99, 500, 5, 0.97)
    assert PRESETS["bdhs-attn"] == method


def test_presets_are_the_rows_of_tables_6_and_15() -> None:
    rows = {(p.variant, p.rho if p.variant == "attn" else p.noise_steps, p.guidance) for p in PRESETS.values()}
    assert {("attn", rho, True) for rho in (0.98, 0.99, 1.0)} <= rows
    assert {("noise", steps, True) for steps in (100, 200, 300, 400, 500)} <= rows
    assert {("attn", rho, False) for rho in (0.98, 0.99)} <= rows


def test_every_option_is_recorded() -> None:
    made = pair(Script([0.5]).run(BDHS(seed=11), sample()))
    assert made.params == dataclasses.asdict(BDHS(seed=11))
    assert (made.seed, made.method, made.variant) == (11, "bdhs", "attn")
