"""Token draws and stopping rules, used by every way of generating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import regex
import torch

from prefgen import seeds, text
from prefgen.requests import Completion, Finish, Generate

# How many tokens of the prompt are decoded with the answer, so that the tokenizer sees what the first one follows.
_TAIL_TOKENS = 8
# Characters that cannot end a sentence; a token of these alone needs no look at the text.
_NEVER_ENDS = regex.compile(r"[\p{L}\p{N}\p{M} ,;:'’\-]*")


def uniforms(seed: int, count: int) -> npt.NDArray[np.float64]:
    """The uniform numbers in [0, 1) that choose a request's tokens, one per token."""
    return seeds.generator(seed).random(count)


def float64_device(device: torch.device) -> torch.device:
    """Device for drawing tokens from logits of a device: the CPU for Apple's GPUs, which have no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def draw(
    logits_BV: torch.Tensor, uniform_B: torch.Tensor, temperature_B: torch.Tensor, top_p_B: torch.Tensor
) -> torch.Tensor:
    """Draw one token per row by inverting the cumulative distribution: a row's draw is its own uniform number.

    Args:
        logits_BV: (batch, vocabulary), -inf where a token is forbidden.
        uniform_B: float64 (batch,) in [0, 1).
        temperature_B: float64 (batch,); 0 takes the most likely token.
        top_p_B: float64 (batch,); the smallest set of tokens that reaches this probability is kept.

    Returns:
        int64 (batch,).
    """
    return _draw(
        logits_BV, uniform_B, temperature_B, top_p_B, bool((temperature_B > 0).any()), bool((top_p_B < 1).any())
    )


def _draw(
    logits_BV: torch.Tensor,
    uniform_B: torch.Tensor,
    temperature_B: torch.Tensor,
    top_p_B: torch.Tensor,
    sampled: bool,
    nucleus: bool,
) -> torch.Tensor:
    """As `draw`, with flags for sampling and nucleus, since reading them from a GPU would block."""
    greedy_B = logits_BV.argmax(dim=-1)
    if not sampled:
        return greedy_B
    scale_B = torch.where(temperature_B > 0, temperature_B, 1.0)
    probs_BV = torch.softmax(logits_BV.double() / scale_B[:, None], dim=-1)
    if nucleus:
        sorted_BV, order_BV = probs_BV.sort(dim=-1, descending=True, stable=True)
        before_BV = sorted_BV.cumsum(dim=-1) - sorted_BV  # probability of everything more likely
        kept_BV = torch.where(before_BV < top_p_B[:, None], sorted_BV, 0.0)
        probs_BV = torch.zeros_like(probs_BV).scatter(-1, order_BV, kept_BV)
    cumulative_BV = probs_BV.cumsum(dim=-1)
    total_B1 = cumulative_BV[:, -1:].contiguous()
    drawn_B1 = torch.searchsorted(cumulative_BV, uniform_B[:, None] * total_B1, right=True)
    last_B1 = torch.searchsorted(cumulative_BV, total_B1)  # rounding must not lead past the last possible token
    drawn_B = torch.minimum(drawn_B1, last_B1)[:, 0]
    return torch.where(temperature_B > 0, drawn_B, greedy_B)


class Vocabulary:
    """Token properties: which end an answer, which are forbidden, which may end a sentence."""

    def __init__(self, tokenizer: Any, size: int, eos_ids: set[int], image_token_id: int) -> None:
        self.tokenizer = tokenizer
        self.eos_ids = eos_ids
        special = set(tokenizer.all_special_ids) | {image_token_id}
        # Also what lies beyond the tokenizer: padded rows of the embedding matrix decode to nothing.
        beyond = set(range(len(tokenizer), size))
        self.forbidden_ids = sorted(token for token in (special | beyond) - eos_ids if token < size)
        # Decoded one by one: the pieces themselves may be spelled in the tokenizer's own alphabet of bytes.
        texts = tokenizer.batch_decode([[token] for token in range(min(len(tokenizer), size))])
        self._may_end = np.array([not _NEVER_ENDS.fullmatch(piece) for piece in texts])

    def may_end(self, token_id: int) -> bool:
        """True if the token contains a character that can end a sentence."""
        return bool(self._may_end[token_id])

    def decode(self, ids: list[int]) -> str:
        """Exact text of the tokens, without clean-up or special tokens."""
        decoded: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return decoded


class Continuation:
    """The generated part of one row."""

    def __init__(self, request: Generate, prefix: str, prompt_ids: list[int], vocabulary: Vocabulary) -> None:
        self.request = request
        self.ids: list[int] = []
        self.finish: Finish | None = None
        self._prefix = prefix
        self._tail = prompt_ids[-_TAIL_TOKENS:]
        self._tail_text = vocabulary.decode(self._tail)
        self._vocabulary = vocabulary
        self._must_look = False
        self.uniforms = uniforms(request.seed, request.sampling.max_new_tokens)

    def push(self, token_id: int) -> bool:
        """Append the next token; True when the row is finished."""
        self.ids.append(token_id)
        if token_id in self._vocabulary.eos_ids:
            self.finish = "eos"
        elif self._sentence_ended(token_id):
            self.finish = "stop"
        elif len(self.ids) == self.request.sampling.max_new_tokens:
            self.finish = "length"
        return self.finish is not None

    def restart(self) -> None:
        """Discard what was generated, so that the same draws are repeated."""
        self.ids, self.finish, self._must_look = [], None, False

    def text(self) -> str:
        """The generated text, as it continues the prefix."""
        decoded = self._vocabulary.decode(self._tail + self.ids)
        return decoded[len(self._tail_text) :]

    def completion(self, image_tokens: int, kept_tokens: int) -> Completion:
        """The reply for a finished row."""
        generated = self.text()
        end = find_end(self.request, self._prefix, generated, final=True)
        if end is not None:
            generated = generated[: end - len(self._prefix)]
        ids = tuple(self.ids)
        return Completion(generated, self.finish or "length", len(ids), image_tokens, kept_tokens, ids)

    def _sentence_ended(self, token_id: int) -> bool:
        """True if the sentence is complete; looks only from the first token on that can end one."""
        if self.request.stop == "end":
            return False
        self._must_look = self._must_look or self._vocabulary.may_end(token_id)
        return self._must_look and find_end(self.request, self._prefix, self.text(), final=False) is not None


def find_end(request: Generate, prefix: str, generated: str, *, final: bool) -> int | None:
    """Offset at which an answer ends by its request's rule; used by all engines.

    Args:
        prefix: the request's, as the model was given it.
        final: no more will be generated.

    Returns:
        Offset into ``prefix + generated``, or None if it continues.
    """
    whole, floor = prefix + generated, len(prefix)
    if request.stop == "sentence":
        return text.sentence_end(whole, request.open_at, floor, final=final, language=request.language)
    return text.full_stop_end(whole, floor) if request.stop == "full-stop" else None


class Chooser:
    """Draws tokens for the unfinished rows, each from its own random stream.

    All that `choose` reads and writes stays on the device and in its place while `seat` says so, so that it can be part
    of a recorded step.

    Args:
        continuations: one for each row of the logits; None where there is none.
    """

    def __init__(
        self, vocabulary: Vocabulary, continuations: Sequence[Continuation | None], device: torch.device
    ) -> None:
        self._device = float64_device(device)
        self._forbidden = torch.tensor(vocabulary.forbidden_ids, dtype=torch.int64, device=device)
        self._eos = torch.tensor(sorted(vocabulary.eos_ids), dtype=torch.int64, device=device)
        self._kind: tuple[int, int, bool, bool] | None = None
        self.seat(continuations)

    def seat(self, continuations: Sequence[Continuation | None]) -> bool:
        """Set the rows to draw for; False if a recorded `choose` is no longer valid."""
        self._continuations = continuations
        rows = [(place, row) for place, row in enumerate(continuations) if row]
        settings = [row.request.sampling for _, row in rows]
        longest = max([1, *(setting.max_new_tokens for setting in settings)])
        if self._kind and self._kind[0] == len(continuations):
            longest = max(longest, self._kind[1])
        uniforms = np.zeros((len(continuations), longest))
        others = np.zeros((4, len(continuations)))  # tokens drawn so far, temperature, top-p, least number of tokens
        others[2] = 1.0
        for place, row in rows:
            uniforms[place, : len(row.uniforms)] = row.uniforms
            own = row.request.sampling
            others[:, place] = len(row.ids), own.temperature, own.top_p, own.min_new_tokens
        kind = (len(continuations), longest, bool((others[1] > 0).any()), bool((others[2] < 1).any()))
        same, self._kind = kind == self._kind, kind
        if not same:
            self._uniforms = torch.empty(uniforms.shape, dtype=torch.float64, device=self._device)
            self._others = torch.empty(others.shape, dtype=torch.float64, device=self._device)
        self._uniforms.copy_(torch.from_numpy(uniforms))
        self._others.copy_(torch.from_numpy(others))
        return same

    def choose(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """The next token of every row, finished rows included; (B,)."""
        assert self._kind is not None
        _, longest, sampled, nucleus = self._kind
        drawn_B, temperature_B, top_p_B, _ = self._others
        allowed_BV = self.allowed(logits_BV)
        at_B1 = drawn_B.long().clamp(max=longest - 1)[:, None]
        uniform_B = self._uniforms.gather(1, at_B1)[:, 0]
        token_B = _draw(allowed_BV.to(self._device), uniform_B, temperature_B, top_p_B, sampled, nucleus)
        drawn_B += 1
        return token_B.to(logits_BV.device)

    def allowed(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """The logits in float32, with -inf for forbidden tokens; (B, V)."""
        drawn_B, _, _, least_B = self._others
        allowed_BV = logits_BV.float().index_fill(-1, self._forbidden, -torch.inf)
        ends_BE = allowed_BV[:, self._eos].masked_fill((drawn_B < least_B)[:, None].to(logits_BV.device), -torch.inf)
        return allowed_BV.index_copy_(-1, self._eos, ends_BE)

    def push(self, tokens: list[int]) -> None:
        """Append the tokens to their rows; those of finished rows are ignored."""
        for continuation, token in zip(self._continuations, tokens, strict=True):
            if continuation and not continuation.finish:
                continuation.push(token)

    def finished(self) -> list[bool]:
        """The rows that are finished."""
        return [row is None or row.finish is not None for row in self._continuations]
