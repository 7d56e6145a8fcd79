"""Answers behind one prompt against stock `forward` over a sequence for each."""

from __future__ import annotations

import dataclasses
from typing import Any
from unittest.mock import patch

import pytest
import torch

from prefgen.engines.hf import decoding, probing, vision
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.probing import Readout
from prefgen.errors import UsageError
from prefgen.training import attention, logprobs, processes
from prefgen.training.logprobs import Policy, token_logps, why_not_packed
from prefgen.training.rows import Item
from tests.engines import tiny
from tests.engines.small_models import ALL, make
from tests.engines.zoo import ZOO
from tests.train.pairs import CHOSEN, REJECTED, item, row

PACKED = ("llava", "llava_next", "internvl", "smolvlm", "idefics3", "llava_onevision", "ovis2")
SEPARATE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "gemma3", "aya_vision")
_SLOW = {"aria"}  # whose processor makes 980 x 980 of every picture


def stock(loaded: LoadedModel, given: Item) -> list[torch.Tensor]:
    """One answer at a time through the published forward pass, pixels and all, without padding."""
    found = []
    for place, answer in enumerate(given.sample.answers):
        pixels, prompt = given.pixels, given.sample.prompt
        if place and given.rejected_pixels is not None:
            pixels, prompt = given.rejected_pixels, given.sample.rejected_prompt
        ids = torch.tensor([[*prompt, *answer.ids]])
        images = (ids == loaded.image_token_id).int()
        inputs = vision.model_inputs(loaded, [pixels]) if pixels.inputs else {}
        if loaded.family.mrope:
            inputs["mm_token_type_ids"] = images
        inputs |= decoding.token_types(loaded, ids)
        with torch.no_grad():
            logits = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits[0].float()
        logps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        found.append(logps.gather(-1, torch.tensor(answer.ids)[:, None])[:, 0])
    return found


def items(loaded: LoadedModel) -> list[Item]:
    """A sample with two rejected answers and one with another picture and one, of other lengths."""
    return [
        item(loaded, row(), row(rejected=REJECTED[1])),
        item(loaded, row("Two.", "There is none, approx. ten metres away."), picture=1),
    ]


@pytest.mark.parametrize("name", [name for name in ALL if name not in _SLOW])
def test_answers_have_the_log_probabilities_of_sequences_of_their_own(name: str) -> None:
    loaded = make(name)
    given = items(loaded)
    packed = not why_not_packed(loaded, given[0])
    assert packed == (name in PACKED) or name not in (*PACKED, *SEPARATE)
    expected = [stock(loaded, each) for each in given]
    for batch in (given, given[:1]):  # padded, and not
        with torch.no_grad():
            found = token_logps(loaded, batch, packed=packed)
        for ours, theirs in zip(found, expected, strict=False):
            assert [len(answer) for answer in ours] == [len(answer) for answer in theirs]
            for one, other in zip(ours, theirs, strict=True):
                assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
                assert float(one.sum()) == pytest.approx(float(other.sum()), rel=1e-4)


@pytest.mark.parametrize("name", ["llava", "llava_next", "qwen2_vl"])
def test_each_side_of_a_pair_of_pictures_sees_its_own(name: str) -> None:
    loaded = make(name)
    given = [
        item(loaded, row(rejected=CHOSEN, rejected_images=(tiny.picture(1, 96, 40),))),
        item(loaded, row("Two.", "There is none."), picture=1),
    ]
    assert given[0].sample.answers[0] == given[0].sample.answers[1]
    for ours, each in zip(token_logps(loaded, given, packed=not why_not_packed(loaded, given[0])), given, strict=True):
        for one, other in zip(ours, stock(loaded, each), strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    chosen, rejected = stock(loaded, given[0])
    assert not torch.allclose(chosen, rejected, atol=1e-4)


def test_a_model_that_does_not_obey_a_block_mask_gets_sequences_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = ALL["vipllava"]()
    given = items(loaded)[0]
    assert why_not_packed(loaded, given) == ""
    plain = attention.attend

    def careless(*arguments: Any, segments: Any = (), **settings: Any) -> tuple[torch.Tensor, None]:
        arguments = (*arguments[:4], None, *arguments[5:]) if segments else arguments
        return plain(*arguments, **settings)

    monkeypatch.setattr(attention, "attend", careless)
    monkeypatch.setattr(attention, "NAME", "prefgen_careless")
    assert "log-probabilities behind one prompt differ" in why_not_packed(loaded, given)


@pytest.mark.parametrize("name", PACKED)
def test_every_layer_reads_the_prompts_without_a_mask(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = ZOO[name]()
    given = items(loaded)
    assert loaded.readout == Readout()  # found out by a forward pass of its own
    rows: list[list[int]] = []

    def watched(*arguments: Any, **settings: Any) -> tuple[torch.Tensor, None]:
        rows.append([segment.prompt for segment in settings.get("segments", ())])
        return attend(*arguments, **settings)

    attend = attention.attend
    monkeypatch.setattr(attention, "attend", watched)
    with torch.no_grad():
        token_logps(loaded, given, packed=True)
    prompts = [len(each.sample.prompt) for each in given]
    assert rows == [prompts] * loaded.model.config.get_text_config().num_hidden_layers


@pytest.mark.parametrize("name", ["llava", "llava_next"])
def test_packed_and_separate_sequences_have_the_same_gradient(name: str) -> None:
    gradients = []
    for packed in (True, False):
        loaded = ZOO[name]()
        found = token_logps(loaded, items(loaded), packed=packed)
        sum(logps.sum() for sample in found for logps in sample).backward()  # type: ignore[union-attr]  # not 0
        gradients.append({n: p.grad for n, p in loaded.model.named_parameters() if p.grad is not None})
    one, other = gradients
    assert one.keys() == other.keys()
    assert any("multi_modal_projector" in name for name in one)
    for name, gradient in one.items():
        assert torch.allclose(gradient, other[name], rtol=1e-3, atol=1e-4 * float(gradient.abs().max()) + 1e-6), name


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
def test_the_gradient_of_logits_in_chunks_is_that_of_all(trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.llava()
    assert loaded.readout == Readout()  # found out by a forward pass of its own
    head = loaded.model.get_output_embeddings().requires_grad_(trained)
    hidden_NH = torch.randn(11, loaded.hidden_size, requires_grad=True)
    target_N, weights_N = torch.arange(11), torch.randn(11)
    monkeypatch.setattr(logprobs, "_CHUNK", 4)
    read: list[int] = []
    head.register_forward_hook(lambda _, __, output: read.append(len(output)))
    found = logprobs.logps(loaded, logprobs.States(hidden_NH, target_N, 0.0, [[11]]))
    (ours,) = torch.autograd.grad((found * weights_N).sum(), hidden_NH)
    assert sorted(read) == sorted([4, 4, 3] * (2 if trained else 1))  # a frozen layer reads no state twice
    expected = head(hidden_NH).log_softmax(-1).gather(-1, target_N[:, None])[:, 0]
    (theirs,) = torch.autograd.grad((expected * weights_N).sum(), hidden_NH)
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_samples_of_a_batch_stand_in_one_row_without_padding() -> None:
    loaded = tiny.llava()
    assert loaded.readout == Readout()
    given = [*items(loaded), item(loaded, row(pictures=()))]
    shapes: list[tuple[int, ...]] = []
    loaded.model.model.get_decoder().register_forward_pre_hook(
        lambda _, __, inputs: shapes.append(tuple(inputs["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    with torch.no_grad():
        together = token_logps(loaded, given, packed=True)
        alone = [token_logps(loaded, [each], packed=True)[0] for each in given]
    assert shapes[0] == (1, sum(tokens for _, tokens in shapes[1:]))
    for one, other in zip(together, alone, strict=True):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))


def test_a_batch_may_hold_prompts_with_and_without_pictures() -> None:
    loaded = tiny.llava()
    blind = item(loaded, row(pictures=()))
    with torch.no_grad():
        found = token_logps(loaded, [blind, item(loaded, row())], packed=True)
    for one, other in zip(found[0], stock(loaded, blind), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_picture_is_read() -> None:
    loaded = tiny.llava()
    with torch.no_grad():
        one, other = (token_logps(loaded, [item(loaded, row(), picture=seed)], packed=True)[0][0] for seed in (0, 1))
    assert not torch.allclose(one, other, atol=1e-3)


def test_an_answer_does_not_see_the_others() -> None:
    loaded = tiny.llava()
    with torch.no_grad():
        one = token_logps(loaded, [item(loaded, row())], packed=True)[0][0]
        other = token_logps(loaded, [item(loaded, row(rejected="No!"))], packed=True)[0][0]
    assert torch.allclose(one, other, atol=1e-5)


def test_what_is_encoded_because_another_process_has_more_pictures_has_no_effect() -> None:
    """A process without pictures takes part in all that those with pictures wait for, the gradient included."""
    loaded = tiny.llava()
    blind = item(loaded, row(pictures=()))
    spare = item(loaded, row()).pixels
    calls: list[int] = []

    def most(own: int) -> int:
        calls.append(own)
        return own + 2

    policy = Policy(loaded.model, loaded, packed=True, spare=spare)
    with patch.object(processes, "most", most):
        (found,) = policy([blind])
    (alone,) = policy([blind])
    assert calls == [0, 1]  # of the vision encoder, and of the output layer
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, alone, strict=True))
    torch.autograd.backward(torch.cat(found).sum())
    projector = loaded.model.model.multi_modal_projector
    assert all(weight.grad is not None and not weight.grad.any() for weight in projector.parameters())


def test_logits_that_are_scaled_and_bent_are_found_out() -> None:
    loaded = tiny.llava()
    plain = loaded.model.forward

    def bent(**inputs: Any) -> Any:
        output = plain(**inputs)
        output.logits = torch.tanh(output.logits * 0.5 / 3.0) * 3.0
        return output

    text = loaded.model.config.get_text_config()
    text.final_logit_softcapping, text.logit_scale = 3.0, 0.5
    assert probing.readout(loaded.model) == Readout()  # named, and not used
    loaded.model.forward = bent
    assert probing.readout(loaded.model) == Readout(0.5, 3.0)
    text.logit_scale = 1.0
    with pytest.raises(UsageError, match="its logits are not those of its output layer"):
        probing.readout(loaded.model)


def test_logits_are_found_out_of_a_half_precision_model_whose_trained_weights_are_not() -> None:
    plain = tiny.llava()
    loaded = dataclasses.replace(plain, model=plain.model.to(torch.bfloat16), dtype=torch.bfloat16)
    loaded.model.get_output_embeddings().float()
    assert loaded.readout == Readout()
