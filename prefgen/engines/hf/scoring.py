"""Teacher forcing: the model's predictions in every place of a given answer, in one forward pass per batch.

An answer is read as the prefix of a request that generates nothing, so its row is tokenised, masked, noised and padded
like any other. Logits are taken at the answer's places only: left padding brings all of them to the end.

Shapes: T tokens of an answer, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from prefgen import seeds
from prefgen.engines.hf import decoding, sampling, vision
from prefgen.engines.hf.decoding import BatchRow
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.prompts import Header, Prompts
from prefgen.engines.hf.sampling import Vocabulary
from prefgen.requests import Generate, Sampling, Score, Scored

_TAIL_TOKENS = 8  # of the prompt, decoded with the answer so that its first token keeps its space


@dataclass(frozen=True)
class AnswerToScore:
    """An answer to score.

    Attributes:
        row: what the model reads; the answer's tokens are its last.
        before: the tokens before the answer.
    """

    row: BatchRow
    request: Score
    before: list[int]
    answer_ids: list[int]


def as_prefix(request: Score) -> Generate:
    """The request with the answer as its prefix and nothing to generate."""
    return Generate(
        prompt=request.prompt,
        images=request.images,
        view=request.view,
        prefix=request.answer,
        open_at=0,
        stop="end",
        language="en",
        sampling=Sampling(max_new_tokens=0),
        seed=request.seed,
    )


def job(prompts: Prompts, header: Header, row: BatchRow, request: Score) -> AnswerToScore:
    """Find where the answer begins: after the tokens that the prompt has with and without it.

    The space before a first word belongs to the word's token where the tokenizer puts it there.
    """
    expansions = row.pixels.expansions
    whole = prompts.encode(header, request.answer.rstrip(" "), expansions)
    bare = prompts.encode(replace(header, opening=header.continuing.rstrip(" ")), "", expansions)
    differs = (place for place, (one, other) in enumerate(zip(whole, bare, strict=False)) if one != other)
    start = next(differs, len(bare))
    return AnswerToScore(row, request, whole[:start], whole[start:])


@torch.inference_mode()
def score(
    loaded: LoadedModel, vocabulary: Vocabulary, jobs: list[AnswerToScore], *, drop: bool, preserve: bool
) -> list[Scored]:
    """Score a batch of answers.

    Args:
        drop: take hidden image tokens out of the sequence, otherwise mask them.
        preserve: keep tokens' own positions.
    """
    groups = [list(range(len(jobs)))] if drop else vision.alike(loaded.family, (job.row.pixels for job in jobs))
    scored: dict[int, Scored] = {}
    for group in groups:
        rows = [jobs[place].row for place in group]
        inputs = (decoding.prefill_inputs if drop else decoding.masked_inputs)(loaded, rows, preserve=preserve)
        places = 1 + max(len(jobs[place].answer_ids) for place in group)
        logits_BTV = loaded.model(**inputs, use_cache=False, logits_to_keep=places).logits
        for place, logits_TV in zip(group, logits_BTV, strict=True):
            scored[place] = _scored(vocabulary, jobs[place], logits_TV[-1 - len(jobs[place].answer_ids) :])
    return [scored[place] for place in range(len(jobs))]


def _scored(vocabulary: Vocabulary, job: AnswerToScore, logits_TV: torch.Tensor) -> Scored:
    """The result for one answer from its logits, (T + 1, V): one row per token, and one after the last."""
    logits_TV, ids, request = logits_TV.float(), job.answer_ids, job.request
    logps_T = logits_TV[:-1].log_softmax(-1).gather(-1, logits_TV.new_tensor(ids, dtype=torch.int64)[:, None])[:, 0]
    drawn = _draw(vocabulary, request, logits_TV)
    before = job.before[-_TAIL_TOKENS:]
    texts = [vocabulary.decode(before + part) for part in ([], drawn[:-1], drawn)]
    return Scored(
        ids=tuple(ids),
        logps=tuple(logps_T.tolist()),
        drawn=tuple(drawn),
        text=texts[1][len(texts[0]) :],
        end=texts[2][len(texts[1]) :],
        image_tokens=len(job.row.visible),
        kept_tokens=int(job.row.visible.sum()),
    )


def _draw(vocabulary: Vocabulary, request: Score, logits_TV: torch.Tensor) -> list[int]:
    """A token for every place, each chosen by its own uniform number."""
    forbidden = torch.tensor(vocabulary.forbidden_ids, dtype=torch.int64, device=logits_TV.device)
    allowed_TV = logits_TV.index_fill(-1, forbidden, -torch.inf).to(sampling.float64_device(logits_TV.device))
    uniform_T = torch.from_numpy(seeds.generator(request.seed).random(len(allowed_TV))).to(allowed_TV.device)
    drawn_T = sampling.draw(
        allowed_TV,
        uniform_T,
        torch.full_like(uniform_T, request.temperature),
        torch.full_like(uniform_T, request.top_p),
    )
    drawn: list[int] = drawn_T.tolist()
    return drawn
