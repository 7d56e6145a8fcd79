"""Answers by the policy while it is trained: online BDHS, online DPO, distortion by the current policy, and mixes.

Amirloo et al., arXiv:2407.02477, section 3. The methods are those that make data sets, driven in the same way; what
differs is the engine, which runs on the weights that are being trained. `Supply` stands between the loader and the
`Trainer`: it takes the batches of some steps, has their answers made in one go, and hands them out step by step.

- Each sample is trained on as stored with probability p (`--mix`, eq. 4), drawn anew in every epoch.
- Else the method makes its answers: a rejected one for the stored chosen one, alone or beside the stored rejected ones
  (eq. 5), or, in online DPO, both.
- A sample whose answers come to nothing (one equals the chosen one, both are alike, a verdict is a tie or cannot be
  read, a server fails) is left out of its step, or falls back to its stored pair (`--fallback`). Either is counted by
  reason, and a run in which it is most of them stops: it would not be what was asked for.

Every draw is seeded by run, row and epoch, in the first epoch as `prefgen bdhs --seed` does it. What was made for steps
to come is kept in checkpoints, since the policy that made it is gone: a resumed run is the run without a stop.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from prefgen import durable, records, seeds
from prefgen.driver import drive
from prefgen.engines import build
from prefgen.engines.base import NO_SIMILARITY, EngineConfig, Engines
from prefgen.engines.chat.engine import ChatEngine
from prefgen.engines.chat.ledger import Ledger
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.errors import RowError, UsageError
from prefgen.methods.base import Recording, settings
from prefgen.methods.rank import Rank, Sampled
from prefgen.records import Dropped, Outcome
from prefgen.requests import Chat, Rate, Reply
from prefgen.rundir.reader import asked, loaded_images
from prefgen.training import reward
from prefgen.training.config import Online
from prefgen.training.losses import takes_offline
from prefgen.training.policy_gradient import Rollout
from prefgen.training.reference import Live
from prefgen.training.reward import Figures
from prefgen.training.rows import Item, Reader, Sample

if TYPE_CHECKING:
    from prefgen.training.state import Job, Prepared

# Metrics, of the samples whose answers were asked for since the last step was logged.
ASKED, FALLBACK, SECONDS = "online/asked", "online/fallback", "online/seconds"
_AHEAD = "ahead.json"  # in a checkpoint
_FIGURES = "rewards.json"  # in the records
_MEASURED = 64  # prompts whose answers the mean and spread of rewards are taken of
_RECENT, _LEAST = 64, 16  # samples that `--max-fallback` is a share of: the last so many, once there are a few
_ADVICE = {
    "ANSWER_ALIKE": "The policy's two answers are alike: raise --online-arg temperature= or max_new_tokens=.",
    "ANSWER_TIE": "The annotator finds the answers equally good: try another --annotator.",
    "ANSWER_UNCLEAR": "The annotator gives no verdict: try another --annotator or --annotator-prompt.",
    "REJECTED_EQUALS_CHOSEN": "The policy writes the chosen answer: hide more of the image.",
    "REJECTED_SIMILAR": "The policy's answers are too similar: hide more of the image, or raise the threshold.",
}
Row = Mapping[str, Any]
Read = dict[str, list[list[float]]]
"""What a policy says of sampled answers: `Rollout`'s ``logps`` and ``values``."""
Made = Row | str | None
"""Columns of a row that stand in place of the stored ones; why there are none, as ``REASON: detail``; None where none
were asked for."""


class PolicyEngine(TransformersEngine):
    """The engine on weights that are being trained: in a bfloat16 model those are float32."""

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """As any engine does."""
        # Nothing is cached: a cast weight would be gone at the next call, and a recorded step would still read it.
        kind, low = self._loaded.device.type, self._loaded.dtype == torch.bfloat16
        with torch.autocast(kind, torch.bfloat16, enabled=low, cache_enabled=False):
            return super().collect()

    def rest(self) -> None:
        """Free the memory of a batch until there is another one."""
        self._running.clear()


class Renewal:
    """Has answers made by the policy, and puts them in the place of stored ones.

    Args:
        rows: the stored rows of a sample.
        figures: by which rewards of sampled answers are normalised.
        reads: what the policy says of sampled answers, asked when they are trained on by a later one.
    """

    def __init__(
        self,
        online: Online,
        seed: int,
        engines: Engines,
        policy: PolicyEngine,
        rows: Callable[[Sample], list[dict[str, Any]]],
        reader: Reader,
        figures: Figures | None = None,
        reads: Callable[[list[Item]], list[Read]] | None = None,
    ) -> None:
        self._online = online
        self._seed = seed
        self._engines = engines
        self._policy = policy
        self._rows = rows
        self._reader = reader
        self.figures = figures
        self._reads = reads

    def make(self, items: Sequence[Item], epoch: int) -> list[Made]:
        """Answers for these items, by the policy as it is now.

        Args:
            epoch: 0-based. In the first one draws are those of a run with this seed.
        """
        own = self._seed if not epoch else seeds.derive(self._seed, "", epoch, "online")
        made: list[Made] = [None] * len(items)
        places = [
            place
            for place, item in enumerate(items)
            if not takes_offline(self._online.mix, self._seed, epoch, item.sample.id)  # eq. 4
        ]
        samples = [_unanswered(self._rows(items[place].sample)[0]) for place in places]
        method: Any = self._online.method(own)
        flow = method.sampled if self._online.online == "sampled" else method
        for index, outcome in drive(samples, flow, self._engines):
            assert not isinstance(outcome, list)  # see `Online.method`
            made[places[index]] = _columns(outcome)
        self._policy.rest()
        if self.figures and self._reads and self._online.online_every > 1:
            self._read(items, made, self._reads)
        return made

    def _read(self, items: Sequence[Item], made: list[Made], reads: Callable[[list[Item]], list[Read]]) -> None:
        """Add what the policy that sampled answers says of them; those that do not fit are told when they are put."""
        for place, own in enumerate(made):
            with suppress(RowError):
                if isinstance(own, dict):
                    (said,) = reads([self.put(items[place], own)])
                    made[place] = {**own, **said}

    def put(self, item: Item, made: Row) -> Item:
        """The item with these answers; their reference is not known.

        Raises:
            RowError: it cannot be trained on with them.
        """
        stored = self._rows(item.sample)
        if "ids" in made:
            assert self.figures
            sample = self._reader.sampled(item, stored[0], made["ids"])
            rollout = Rollout(
                tuple(made["rewards"]),
                tuple(map(self.figures.normalised, made["rewards"])),
                tuple(made["cut"]),
                len(set(made["texts"])) == 1,
                *(tuple(map(torch.tensor, made.get(name, ()))) for name in ("logps", "values")),
            )
            return replace(item, sample=sample, reference=(), rollout=rollout)
        beside = stored if self._online.averages else []  # eq. 5
        sample = self._reader.sample([*beside, {**stored[0], **made}], item.sample.place, item.pixels)
        return replace(item, sample=sample, reference=())


class Supply:
    """The batches of each step with the answers that are to be trained on, and the reference of these.

    Args:
        model: that is trained; it rests while it generates.
        renewal: of answers, as `online` says; None where only the reference is read live. passes: batches of a step.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        live: Live,
        passes: int,
        renewal: Renewal | None = None,
        online: Online | None = None,
    ) -> None:
        self._model = model
        self._live = live
        self._renewal = renewal
        self._every = online.online_every if online else 1
        self._drops = online is not None and online.falls_back == "drop"
        self._most = online.max_fallback if online else 1.0
        self._passes = passes
        self._recent: deque[str] = deque(maxlen=_RECENT)  # why answers came to nothing, with the row; else empty
        self._ahead: deque[tuple[list[Item], list[Made]]] = deque()
        self._kept: list[list[Made]] = []  # of a checkpoint, for the batches that come next
        self._counted: dict[str, float] = defaultdict(float)

    def step(self, loader: Iterator[dict[str, Any]], count: int, epoch: int, left: int) -> list[dict[str, Any]]:
        """The batches of the next step. Where samples are left out, `share` is how many a batch has on average.

        Args:
            loader: of this epoch. count: batches of the step. epoch: 0-based. left: steps of the run, with this one.
        """
        if not self._ahead:
            size = len(self._kept) or min(self._every, left) * self._passes
            self._fetch([batch["items"] for batch in islice(loader, size)], epoch)
        batches = [self._ahead.popleft()[0] for _ in range(min(count, len(self._ahead)))]
        share = sum(map(len, batches)) / len(batches) if self._drops else None
        return [{"items": batch, "share": share} for batch in batches]

    def _fetch(self, batches: list[list[Item]], epoch: int) -> None:
        started = time.monotonic()
        trains = self._model.training
        self._model.eval()
        kept, self._kept = self._kept, []
        if self._renewal and not kept:
            made = iter(self._renewal.make([item for batch in batches for item in batch], epoch))
            kept = [[next(made) for _ in batch] for batch in batches]
        for place, batch in enumerate(batches):
            own: list[Made] = kept[place] if kept else [None] * len(batch)
            renewed = map(self._renewed, batch, own)
            self._ahead.append(([item for item in renewed if item is not None], own))
        self._model.train(trains)
        self._counted[SECONDS] += time.monotonic() - started

    def _renewed(self, item: Item, made: Made) -> Item | None:
        """The item with the answers that were made for it, or as it is where none were; None where it is left out."""
        if made is None or self._renewal is None:
            return item
        renewed: Item | None = None if self._drops else item
        why = made if isinstance(made, str) else ""
        if not isinstance(made, str):
            try:
                renewed = self._renewal.put(item, made)
            except RowError as error:
                why = str(error)
        self._counted[ASKED] += 1
        self._counted[FALLBACK] += bool(why)
        self._recent.append(f"{why} (row {item.sample.id})" if why else "")
        if why:
            self._counted[f"{FALLBACK}/{_reason(why)}"] += 1
        return renewed

    def why_stop(self) -> str:
        """What is wrong where more answers come to nothing than `--max-fallback` allows; else empty."""
        failed = [why for why in self._recent if why]
        if len(self._recent) < _LEAST or len(failed) <= self._most * len(self._recent):
            return ""
        reasons = Counter(map(_reason, failed)).most_common()
        most = reasons[0][0]
        counts = ", ".join(f"{reason} {count:,}" for reason, count in reasons)
        example = next(why for why in failed if _reason(why) == most)
        return (
            f"the answers of {len(failed):,} of the last {len(self._recent):,} samples came to nothing: {counts}. "
            f"For example {example}. {_ADVICE.get(most, '')} With --max-fallback 1 the same command goes on."
        )

    def referred(self, batch: list[Item]) -> list[Item]:
        """The batch with the reference of items that have none yet."""
        unknown = [item for item in batch if not item.reference]
        found = iter(self._live(unknown) if unknown else ())
        return [item if item.reference else replace(item, reference=next(found)) for item in batch]

    def measured(self) -> dict[str, float]:
        """Metrics since the last call."""
        counted, self._counted = self._counted, defaultdict(float)
        return dict(counted)

    def save(self, checkpoint: Path) -> None:
        """Keep what was made for steps to come."""
        made = [own for _, own in self._ahead]
        (checkpoint / _AHEAD).write_text(json.dumps(made), encoding="utf-8")

    def load(self, checkpoint: Path) -> None:
        """Go on with what `save` kept."""
        self._kept = json.loads((checkpoint / _AHEAD).read_text(encoding="utf-8"))


@contextmanager
def supply(
    job: Job, prepared: Prepared, model: Any, reads: Callable[[list[Item]], list[Read]] | None = None
) -> Iterator[Supply | None]:
    """What is made for a job while it trains; None where all is known before the first step.

    Args:
        model: before its first step, see `prefgen.training.reference.Live`. reads: see `Renewal`.
    """
    if job.online is None and job.optimisation.reference == "precompute":
        yield None
        return
    loaded, passes = prepared.loaded, job.optimisation.grad_accum
    live = Live(model, loaded, packed=not prepared.separate)
    if job.online is None:
        yield Supply(loaded.model, live, passes)
        return
    method = job.online.method(0)
    asks = method.asks
    config = _engine_config(job)
    policy = PolicyEngine(loaded, config)
    others = dict(job.engines)
    if isinstance(method, Rank) and Rate in asks and Rate not in others:
        others[Rate] = reward.pinned(method)[1]
    engines = build.build(config, asks, policy, others)
    with ExitStack() as held:
        if Chat in asks:
            ledger = held.enter_context(closing(Ledger(job.records / "judge.sqlite")))
            engines = {**engines, Chat: held.enter_context(closing(ChatEngine(job.judge, ledger)))}
        dataset = prepared.dataset
        renewal = Renewal(job.online, job.optimisation.seed, engines, policy, dataset.rows, dataset.reader, reads=reads)
        if job.online.online == "sampled":
            renewal.figures = _figures(job, prepared, renewal)
        yield Supply(loaded.model, live, passes, renewal, job.online)


def _figures(job: Job, prepared: Prepared, renewal: Renewal) -> Figures:
    """Mean and spread of the rewards of answers that the first model gives to some prompts; kept beside the output.

    Raises:
        UsageError: not one answer could be rated.
    """
    file = job.records / _FIGURES
    if not file.exists():
        items = [prepared.dataset[number] for number in prepared.trained_on[:_MEASURED]]
        made = renewal.make(items, -1)  # with draws of its own
        rated = [reward for own in made if isinstance(own, dict) for reward in own["rewards"]]
        if not rated:
            raise UsageError(f"no answer to the first {len(items)} prompts could be rated: {made[0]}")
        durable.replace_json(file, vars(Figures.of(rated)))
    return Figures(**json.loads(file.read_bytes()))


def identified(job: Job) -> dict[str, Any] | None:
    """Every setting of a job that can change what is made while it trains, by name; None if nothing is.

    Raises:
        UsageError: a model is of no use. ModelUnreachable: one cannot be found.
    """
    if job.online is None:
        return None
    method = job.online.method(job.optimisation.seed)
    if isinstance(method, Rank) and Rate in method.asks and Rate not in job.engines:
        method, _ = reward.pinned(method)
    config, _ = build.settle_similarity(_engine_config(job), method.asks, isinstance(method, Recording))
    found = build.identify(config, method.asks)
    return {
        **settings(method),
        "every": job.online.online_every,
        "averages": job.online.averages,
        "mix": job.online.mix,
        "fallback": job.online.falls_back,
        "similarity": found.similarity_revision,
        "annotator": job.judge.model if job.online.served else found.annotator_revision,
    }


def _engine_config(job: Job) -> EngineConfig:
    """The policy, and the models that its method asks for beside it."""
    assert job.online is not None
    return replace(
        job.engine,
        similarity_model=NO_SIMILARITY if isinstance(job.online.method(0), Recording) else job.online.similarity_model,
        annotator="" if job.online.served else job.online.annotator,
        annotator_revision=job.online.annotator_revision,
    )


def _unanswered(row: Row) -> records.Sample:
    """What a method makes answers for."""
    return records.Sample(
        row["id"], asked(row), loaded_images(row), row["chosen_response"], row["source"], row["source_id"], row["turn"]
    )


def _reason(why: str) -> str:
    """The code at the beginning of ``REASON: detail``."""
    return why.partition(":")[0].partition(" ")[0]


def _columns(outcome: Outcome | Sampled) -> Row | str:
    """A pair as the columns of its row that tell of its answers; of a dropped sample the reason and its detail."""
    if isinstance(outcome, Sampled):
        return {
            "texts": list(outcome.texts),
            "ids": [list(own) for own in outcome.ids],
            "rewards": list(outcome.scores),
            "cut": list(outcome.cut),
        }
    if isinstance(outcome, Dropped):
        return f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason
    return {
        "method": outcome.method,
        "chosen_response": outcome.chosen,
        "rejected_response": outcome.rejected,
        "spans": [{"start": span.start, "end": span.end} for span in outcome.spans],
        "cuts": list(outcome.cuts),
    }
