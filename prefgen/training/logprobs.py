"""Token log-probabilities of answers: the prompt is computed once for all answers of a sample.

Prompt and answers of a sample make one sequence, ``[x, y+, y-, ỹ-]``. A block mask lets an answer see the prompt and
itself, and its positions go on from the prompt's end, so that every token gets what it would get in a sequence of its
own. The samples of a batch stand behind each other in one row, without padding. That needs a decoder in which a token's
place is its position and any mask is obeyed. Where image tokens have coordinates (M-RoPE) or attend in both directions,
or layers look back on a window, answers are read in separate sequences, the pictures still encoded once.

Logits are computed at answers' places only, in chunks of which the gradient is kept, or from which it is computed again
where the output layer is trained: for a prompt of thousands of image tokens and a vocabulary of 150,000 they would be
most of the memory.

Shapes: B sequences, L tokens (separate sequences are padded on the right), N answer tokens of a batch, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from prefgen.engines.hf import probing, vision
from prefgen.engines.hf.decoding import Tokens, pad, pad_id, token_types
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.proof import FAULTS, TOLERANCE
from prefgen.training import attention, processes
from prefgen.training.rows import Item

_CHUNK = 1024  # answer tokens whose logits are in memory at a time


def why_separate(loaded: LoadedModel) -> str:
    """The reason that this model's answers cannot be packed behind one prompt; empty if they can."""
    if loaded.family.mrope:
        return "its image tokens have coordinates (M-RoPE)"
    if loaded.family.image_blocks:
        return "its image tokens attend to each other in both directions"
    if loaded.family.state:
        return f"its {', '.join(loaded.family.state)} layers carry a state from answer to answer"
    if loaded.window is not None:
        return f"some layers look back on {loaded.window:,} tokens only"
    return ""


def packs(loaded: LoadedModel) -> bool:
    """True if answers are packed without a sample to compare both ways on, which types beyond the table would need."""
    return loaded.family.is_listed and not why_separate(loaded)


def why_not_packed(loaded: LoadedModel, item: Item) -> str:
    """As `why_separate`; for unlisted types, also compares both ways on one sample."""
    reason = why_separate(loaded)
    if reason or loaded.family.is_listed:
        return reason
    with torch.no_grad():
        (apart,) = token_logps(loaded, [item], packed=False)
        try:
            (behind,) = token_logps(loaded, [item], packed=True)
        except FAULTS as error:
            return f"its code does not take a block mask ({type(error).__name__})"
    scale = max(1.0, *(float(logps.abs().max()) for logps in apart))
    difference = max(float((one - other).abs().max()) for one, other in zip(apart, behind, strict=True))
    if difference <= TOLERANCE[loaded.dtype] * scale:
        return ""
    return f"log-probabilities behind one prompt differ by {difference:.1e} from those of sequences of their own"


@dataclass(frozen=True)
class States:
    """Last hidden states at the answers' places of a batch.

    Attributes:
        hidden_NH: of each place, item by item and answer by answer.
        target_N: the token that each predicts.
        idle: a zero, by which what was encoded to no effect has its part in the gradient.
        counts: places of each answer of each item.
    """

    hidden_NH: torch.Tensor
    target_N: torch.Tensor
    idle: torch.Tensor | float
    counts: list[list[int]]

    def split(self, values_N: torch.Tensor) -> list[list[torch.Tensor]]:
        """Values of the places, for each item and each of its answers."""
        each = iter(torch.split(values_N, [count for own in self.counts for count in own]))
        return [[next(each) for _ in own] for own in self.counts]


@dataclass(frozen=True)
class _Sequence:
    """One sequence of a batch.

    Attributes:
        owner: of each token, (L,): 0 the prompt, k the k-th answer.
        places: where each answer token is predicted.
        targets: which it is.
    """

    item: int
    tokens: Tokens
    owner: npt.NDArray[np.int64]
    places: list[int]
    targets: list[int]

    @property
    def segment(self) -> attention.Segment:
        """Its part of a row of several."""
        prompt = int((self.owner == 0).sum())
        return attention.Segment(prompt, len(self.owner) - prompt)


class Policy(torch.nn.Module):
    """The trained model as a module from samples to log-probabilities of their answers.

    All that is computed in a step is computed in its `forward`, so that whatever wraps it to train in several
    processes (DDP, FSDP, DeepSpeed) sees every use of every weight. Where weights are shared out, processes that use
    them wait for each other, so each uses them as often as the others.

    Args:
        model: the loaded model, or PEFT's wrapper around it.
        packed: see `token_logps`.
        spare: pictures to encode, to no effect, where another process has more; None if no sample has any.
    """

    def __init__(
        self, model: torch.nn.Module, loaded: LoadedModel, *, packed: bool, spare: vision.Pixels | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.config = loaded.model.config  # DeepSpeed reads its hidden size
        present = {type(module).__name__ for module in model.modules()}
        self._no_split_modules = sorted(present & set(loaded.model._no_split_modules))  # what FSDP shards one by one
        self._loaded = loaded
        _ = loaded.readout  # found out before the model is shared out over processes
        self._packed = packed
        self._spare = spare

    def forward(self, items: Sequence[Item]) -> list[list[torch.Tensor]]:
        """`token_logps` of the samples."""
        with autocast(self._loaded):
            found = self.states(items)
            return found.split(logps(self._loaded, found, processes.most))

    def states(self, items: Sequence[Item], *, ends: bool = False) -> States:
        """`states` of these samples."""
        return states(self._loaded, items, self._packed, processes.most, self._spare, ends=ends)

    def trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The trained weights under the model's own names."""
        return ((name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad)


def token_logps(loaded: LoadedModel, items: Sequence[Item], *, packed: bool) -> list[list[torch.Tensor]]:
    """Log-probability of every token of every answer, in nats.

    Of a bfloat16 model the weights that are trained are float32; it computes in bfloat16 all the same.

    Args:
        packed: put a sample's answers behind one prompt; see `why_separate`.

    Returns:
        For each item and each of its answers (T,), float32.
    """
    with autocast(loaded):
        found = states(loaded, items, packed)
        return found.split(logps(loaded, found))


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout and the like off for a while."""
    trains = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(trains)


def autocast(loaded: LoadedModel) -> torch.autocast:
    """Computation in bfloat16, of a model in it."""
    return torch.autocast(loaded.device.type, torch.bfloat16, enabled=loaded.dtype == torch.bfloat16)


def states(
    loaded: LoadedModel,
    items: Sequence[Item],
    packed: bool,
    most: Callable[[int], int] = int,
    spare: vision.Pixels | None = None,
    *,
    ends: bool = False,
) -> States:
    """Hidden states that predict the tokens of every answer.

    Args:
        packed: see `token_logps`.
        most: of a number of calls of a module, those of the process that has most.
        spare: see `Policy`.
        ends: the state of each answer's last token instead, which has read it whole.
    """
    prompts = [prompt for item in items for prompt in item.prompts]
    sequences = [line for number, item in enumerate(prompts) for line in _laid_out(loaded, number, item, packed, ends)]
    features, idle = _features(loaded, prompts, sequences, most, spare)
    rows = [_behind_each_other(sequences)] if packed else [line.tokens for line in sequences]
    padded = pad(rows, pad_id(loaded), loaded.device, right=True)
    inputs: dict[str, Any] = {
        **vision.merged(loaded, padded.ids, features),
        **token_types(loaded, padded.ids),
        "attention_mask": padded.attention,
        "position_ids": padded.positions,
    }
    if packed:
        attention.install(loaded)
        inputs |= {"attention_mask": _block_mask(sequences, loaded), "segments": [line.segment for line in sequences]}
    hidden_BLH = probing.hidden_states(loaded.model, inputs)
    length = hidden_BLH.shape[1]
    starts = [0, *accumulate(len(line.owner) if packed else length for line in sequences)]
    places = [start + place for start, line in zip(starts, sequences, strict=False) for place in line.places]
    hidden_NH = hidden_BLH.flatten(0, 1)[torch.tensor(places, device=hidden_BLH.device)]
    target_N = torch.tensor([target for line in sequences for target in line.targets], device=loaded.device)
    counts = [[1 if ends else len(answer.ids) for answer in item.sample.answers] for item in items]
    return States(hidden_NH, target_N, idle, counts)


def _laid_out(loaded: LoadedModel, number: int, item: Item, packed: bool, ends: bool) -> list[_Sequence]:
    """A sample as one sequence with all its answers, or as one per answer, without the answers' last tokens."""
    sample = item.sample
    lines = []
    for answers in [sample.answers] if packed else [(answer,) for answer in sample.answers]:
        start = len(sample.prompt)
        ids, owner = [*sample.prompt], [0] * start
        positions = [*range(start)]
        places: list[int] = []
        for block, answer in enumerate(answers, 1):
            read = answer.ids if ends else answer.ids[:-1]
            seen = [start - 1, *range(len(ids), len(ids) + len(read))]
            places += seen[-1:] if ends else seen
            ids += read
            owner += [block] * len(read)
            positions += range(start, start + len(read))
        targets = [target for answer in answers for target in (answer.ids[-1:] if ends else answer.ids)]
        own = np.array(positions) if packed else vision.positions(loaded, ids, item.pixels)
        tokens = Tokens(np.array(ids), np.ones(len(ids), np.int64), own)
        lines.append(_Sequence(number, tokens, np.array(owner), places, targets))
    return lines


def _features(
    loaded: LoadedModel,
    items: Sequence[Item],
    sequences: list[_Sequence],
    most: Callable[[int], int],
    spare: vision.Pixels | None,
) -> tuple[torch.Tensor | None, torch.Tensor | float]:
    """Features of the image tokens, concatenated over sequences; each picture is encoded once.

    With it comes a zero, by which what was encoded to no effect has its part in the gradient.
    """
    seeing = [number for number, item in enumerate(items) if item.pixels.expansions]
    pixels = [items[number].pixels for number in seeing]
    calls = len(vision.alike(loaded.family, pixels))
    idle = [0 * part.sum() for _ in range(most(calls) - calls) if spare for part in vision.encode(loaded, [spare])]
    if not seeing:
        return None, sum(idle, 0.0)
    encoded = dict(zip(seeing, vision.encode(loaded, pixels), strict=True))
    return torch.cat([encoded[line.item] for line in sequences if line.item in encoded]), sum(idle, 0.0)


def _behind_each_other(sequences: list[_Sequence]) -> Tokens:
    """All sequences as one; positions start again with each."""
    each = [(line.tokens.ids, line.tokens.attention, line.tokens.positions) for line in sequences]
    return Tokens(*(np.concatenate(parts) for parts in zip(*each, strict=True)))


def _block_mask(sequences: list[_Sequence], loaded: LoadedModel) -> torch.Tensor:
    """The additive attention mask of the answers' rows, see `attention.attend`: 0 where a token may attend."""
    length = max(len(line.owner) for line in sequences)
    rows = []
    for line in sequences:
        answers = np.arange(line.segment.prompt, len(line.owner))[:, None]
        own = (line.owner == 0) | (line.owner == line.owner[answers])
        seen = own & (np.arange(len(line.owner)) <= answers)
        rows.append(np.pad(seen, ((0, 0), (0, length - len(line.owner)))))
    seen_RL = torch.from_numpy(np.concatenate(rows)).to(loaded.device)
    low = torch.finfo(loaded.dtype).min
    return torch.zeros_like(seen_RL, dtype=loaded.dtype).masked_fill(~seen_RL, low)[None, None]


def logps(loaded: LoadedModel, found: States, most: Callable[[int], int] = int) -> torch.Tensor:
    """Log-probabilities of the targets, (N,), from the output layer."""
    head, readout = loaded.model.get_output_embeddings(), loaded.readout

    def of_chunk(hidden: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(readout(head(hidden).float()), target, reduction="none").neg()

    def again(hidden: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return checkpoint(of_chunk, hidden, target, use_reentrant=False)  # type: ignore[no-any-return]

    def at_once(hidden: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return _WithGradient.apply(hidden, target, of_chunk)  # type: ignore[no-any-return, no-untyped-call]

    count = most(-(-len(found.target_N) // _CHUNK))
    frozen = not any(weight.requires_grad for weight in head.parameters())
    compute = at_once if frozen and found.hidden_NH.requires_grad and not processes.sharding() else again
    chunks = zip(torch.tensor_split(found.hidden_NH, count), torch.tensor_split(found.target_N, count), strict=True)
    return torch.cat([compute(*chunk) for chunk in chunks]) + found.idle


class _WithGradient(torch.autograd.Function):
    """A function of each row's state and target, whose gradient is computed along with it.

    A row's value depends on its own state alone, so the gradient of their sum, (N, H), is all that has to be kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        target_N: torch.Tensor,
        of_rows: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        with torch.enable_grad():
            own_NH = hidden_NH.detach().requires_grad_()
            values_N = of_rows(own_NH, target_N)
            (gradient_NH,) = torch.autograd.grad(values_N.sum(), own_NH)
        ctx.save_for_backward(gradient_NH)
        return values_N.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (own_NH,) = ctx.saved_tensors
        return (gradient_N[:, None] * own_NH).to(own_NH.dtype), None, None
