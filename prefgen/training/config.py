"""Settings of training, as plain data: the command line reads them without importing torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from prefgen.errors import UsageError
from prefgen.methods import prompts
from prefgen.methods.base import parts
from prefgen.methods.bdhs import BDHS
from prefgen.methods.povid import Povid
from prefgen.methods.rank import Rank
from prefgen.options import check, check_choice, flag, option, shared

Loss = Literal["dpo", "ipo", "ipo-sum", "slic", "sft", "rm", "rloo", "ppo"]
LossMask = Literal["all", "no-eos", "spans", "dense"]
Average = Literal["losses", "margins"]
Schedule = Literal["cosine", "constant"]
Saved = Literal["merged", "adapter"]
Reference = Literal["precompute", "live"]
Maker = Literal["bdhs", "dpo", "povid", "sampled"]
Fallback = Literal["drop", "stored"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
_OBJECTIVE, _TRAINING, _ONLINE = "Objective", "Training", "Online"
_KINDS: Mapping[Maker, type[BDHS | Povid | Rank]] = {
    "bdhs": BDHS,
    "povid": Povid,
    "dpo": Rank,
    "sampled": Rank,
}
_OURS = (  # of the methods, decided here, or of rankings that are not used here
    *("seed", "prompt", "by", "policies", "reward_model", "reward_revision"),
    *("answer_kind", "answer_pattern", "tolerance", "unparsed"),
    *("claims_from", "claim_score", "claim_penalty", "claim_suffix", "claim_tokens"),
)
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "rm": {
        "lr": 2e-5,
        "lr_schedule": "constant",
        "max_steps": 4000,
        "projector_lr": 0.0,
        "validation": 0.1,
        "save": "adapter",
    },
    "rloo": {"lr": 3e-4, "epochs": 2.0, "grad_accum": 16, "beta": 0.4, "projector_lr": 0.0},
    "ppo": {
        "lr": 1.41e-5,
        "lr_schedule": "constant",
        "epochs": 3.0,
        "batch_size": 2,
        "grad_accum": 4,
        "beta": 0.2,
        "projector_lr": 0.0,
        "online_every": 4,
    },
}
"""Defaults of a loss, where they differ from those below: appendix A's, with four answers a prompt. A step of a reward
model has 32 pairs, of RLOO 256 answers, of PPO 32; PPO's β is that of TRL's former trainer: the paper has none."""
SWEEP_VALIDATION = 0.1  # share that a sweep holds out unless another is asked for
OF_PAIRS: tuple[Loss, ...] = ("dpo", "ipo", "ipo-sum", "slic")
"""Losses over the log-probabilities of a chosen and a rejected answer."""
SAMPLES: tuple[Loss, ...] = ("rloo", "ppo")
"""Losses over answers that the policy samples and a reward rates."""
_SAMPLING = ("candidates", "order", "with_image", "max_new_tokens", "verdict_tokens")
REWARDS = ("similarity", "image-gain", "judge", "scenes")
"""Rewards that have a name; any other is the folder of a reward model."""


@dataclass(frozen=True)
class Objective:
    """The loss of a pair, see `prefgen.training.losses`.

    Attributes:
        loss: ``sft`` learns the chosen answers alone: the control that tells what the pairs add. ``rm`` trains a reward
            model, see `prefgen.training.reward`; ``rloo`` and ``ppo`` see `prefgen.training.policy_gradient`.
        beta: β: strength of the pull towards the reference; for IPO, half the inverse of the margin that is aimed at.
        gamma: γ of equation 5: weight of a sample's first rejected answer; the others share the rest.
        average: what is averaged over several rejected answers: their losses, or their margins inside one loss.
        label_smoothing: share of pairs taken to be the wrong way round (DPO only), in [0, 0.5).
        pair_weight: weight of the pair's own loss beside the two that may be added to it:
        quality_weight: weight of the loss that tells good from bad answers by themselves (DPO only; MPO: 0.2).
        anchor_weight: weight of the loss that keeps the chosen answer's reward up (DPO only; mDPO).
        anchor: δ of that loss, the reward that it aims beyond.
        sft_weight: weight of the chosen answer's negative log-likelihood per token.
        clip: ε of rloo and ppo: how far the policy may move from the one that sampled the answers.
        length_normalised: divide an answer's log-ratio by its number of tokens (IPO always does; ``ipo-sum`` never).
    """

    loss: Loss = "dpo"
    beta: float = option(0.1, help="β: pull towards the reference.", panel=_OBJECTIVE, low=0, above=True)
    gamma: float = option(
        0.5, help="γ of eq. 5: weight of the first of several rejected answers.", panel=_OBJECTIVE, low=0, high=1
    )
    average: Average = option("losses", help="What is averaged over several rejected answers", panel=_OBJECTIVE)
    label_smoothing: float = option(0.0, help="dpo: share of pairs taken to be the wrong way round.", panel=_OBJECTIVE)
    pair_weight: float = option(
        1.0, help="Weight of the pair's loss; MPO: 0.8, with the next two 0.2 and 1.", panel=_OBJECTIVE, low=0
    )
    quality_weight: float = option(
        0.0, help="dpo: weight of BCO, which tells good from bad answers by themselves.", panel=_OBJECTIVE, low=0
    )
    anchor_weight: float = option(
        0.0, help="dpo: weight of mDPO's anchor, which keeps the chosen reward up.", panel=_OBJECTIVE, low=0
    )
    anchor: float = option(0.0, help="dpo: δ, the reward that the anchor aims beyond.", panel=_OBJECTIVE)
    sft_weight: float = option(0.0, help="Weight of the chosen answer's NLL per token.", panel=_OBJECTIVE, low=0)
    length_normalised: bool = option(False, help="dpo, slic: log-ratios per token.", panel=_OBJECTIVE)
    clip: float = option(
        0.2, help="rloo, ppo: ε that the ratio to the sampling policy is clipped to.", panel=_OBJECTIVE
    )

    def __post_init__(self) -> None:
        check_choice("--loss", self.loss, LOSSES)
        check(self)
        if not 0 <= self.label_smoothing < 0.5:
            raise UsageError(f"--label-smoothing {self.label_smoothing:g} must be at least 0 and below 0.5")
        if self.label_smoothing and self.loss != "dpo":
            raise UsageError(f"--label-smoothing belongs to dpo; {self.loss} has none")
        if self.length_normalised and self.loss.startswith("ipo"):
            raise UsageError("--length-normalised belongs to dpo and slic; `ipo` is per token, `ipo-sum` is not")
        if not 0 < self.clip < 1:
            raise UsageError(f"--clip {self.clip:g} must be above 0 and below 1")
        for name in ("quality_weight", "anchor_weight"):
            if getattr(self, name) and self.loss != "dpo":
                raise UsageError(f"{flag(name)} belongs to dpo; {self.loss} has no rewards of one answer")
        if self.anchor and not self.anchor_weight:
            raise UsageError("--anchor belongs to --anchor-weight, which is 0")
        if self.loss not in OF_PAIRS and (self.sft_weight or self.length_normalised or self.pair_weight != 1):
            raise UsageError(
                f"--pair-weight, --sft-weight and --length-normalised belong to losses of pairs; {self.loss} has none"
            )
        if self.loss == "rm" and self.beta != type(self).beta:
            raise UsageError("--beta belongs to losses with a reference; rm has none")

    @property
    def samples(self) -> bool:
        """True if the loss is over answers that the policy samples, not over pairs."""
        return self.loss in SAMPLES

    @property
    def scale(self) -> float:
        """Factor of a pair's margin: β, or 1 for reward models."""
        return 1.0 if self.loss == "rm" else self.beta


@dataclass(frozen=True)
class Optimisation:
    """Settings of the optimizer. Defaults lie in the paper's search space (appendix A); LoRA is its 128 / 256.

    Attributes:
        loss_mask: tokens that count: ``all``, all but the end token, only those in which the answers differ, or all,
            those in which they differ as much as `span_weight` of the others (``dense``).
        lr: of LoRA's matrices, or of the language model with `lora` off.
        projector_lr: of the projector; 0 freezes it.
        lr_schedule: how both fall after the warm-up.
        warmup: share of the steps in which they rise from 0. The defaults are those of POVID's script, which the
            paper's search space follows; its reward models and PPO are constant.
        batch_size: samples of a forward pass.
        grad_accum: passes of a step.
        max_length: tokens of prompt and answer at most; 0: as many as the model has positions. Longer rows are dropped.
        max_steps: stop after so many steps; 0: after `epochs`.
        save_steps: steps between checkpoints.
        reference: ``precompute`` reads every sample once before the first step; ``live`` reads a step's samples in that
            step, LoRA switched off and the projector as it was, or with a copy of a model that is trained whole.
        validation: share of the samples that is held out and measured, not trained on.
        eval_steps: steps between these measurements; 0: those of an epoch.
        qlora: LoRA beside a language model in 4 bit (NF4), as in arXiv 2305.14314.
    """

    loss_mask: LossMask = option("all", help="Tokens that count; spans: where the answers differ", panel=_OBJECTIVE)
    span_weight: float = option(
        5.0, help="dense: γ of RLHF-V, what a differing token counts.", panel=_OBJECTIVE, low=0, above=True
    )
    lr: float = option(1e-6, help="Rate of LoRA or of the language model.", panel=_TRAINING, low=0, above=True)
    projector_lr: float = option(2e-6, help="Rate of the projector; 0 freezes it.", panel=_TRAINING, low=0)
    lr_schedule: Schedule = option("cosine", help="What the rates do after the warm-up", panel=_TRAINING)
    warmup: float = option(0.03, help="Share of the steps in which the rates rise.", panel=_TRAINING)
    epochs: float = option(3.0, help="Passes over the data.", panel=_TRAINING, low=0, above=True)
    batch_size: int = option(4, help="Samples of a pass.", panel=_TRAINING, low=1)
    grad_accum: int = option(8, help="Passes of a step.", panel=_TRAINING, low=1)
    max_steps: int = option(0, help="Optimizer steps in all; 0: by --epochs.", panel=_TRAINING, low=0)
    max_length: int = option(
        0, help="Drop rows with more tokens; 0: than the model has positions.", panel=_TRAINING, low=0
    )
    save_steps: int = option(100, help="Steps between checkpoints.", panel=_TRAINING, low=1)
    validation: float = option(
        0.0, help="Share held out and measured; by default 0, and 0.1 in a sweep.", panel=_TRAINING
    )
    eval_steps: int = option(0, help="Steps between their measurements; 0: an epoch's.", panel=_TRAINING, low=0)
    lora: bool = option(True, "--lora/--no-lora", help="Train LoRA, or the whole language model.", panel=_TRAINING)
    lora_r: int = option(128, help="LoRA's rank.", panel=_TRAINING, low=1)
    lora_alpha: int = option(256, help="LoRA's scale.", panel=_TRAINING, low=1)
    qlora: bool = option(False, help="LoRA beside a language model in 4 bit; with --save adapter.", panel=_TRAINING)
    gradient_checkpointing: bool = option(
        True, "--gradient-checkpointing/--no-gradient-checkpointing", help="Less memory, more time.", panel=_TRAINING
    )
    save: Saved = option("merged", help="What is saved with LoRA", panel=_TRAINING)
    reference: Reference = option("precompute", help="Read before the first step, or in every step", panel=_TRAINING)
    seed: int = shared(0)

    def __post_init__(self) -> None:
        check(self)
        if self.span_weight != type(self).span_weight and self.loss_mask != "dense":
            raise UsageError(f"--span-weight belongs to --loss-mask dense; {self.loss_mask} has none")
        if not 0 <= self.warmup < 1:
            raise UsageError(f"--warmup {self.warmup:g} must be at least 0 and below 1: it is a share of the steps")
        if not 0 <= self.validation < 1:
            raise UsageError(f"--validation {self.validation:g} must be at least 0 and below 1")
        if self.save == "adapter" and not self.lora:
            raise UsageError("--save adapter needs --lora: a whole model has no adapter")
        if self.qlora and not self.lora:
            raise UsageError("--qlora needs --lora: weights in 4 bit cannot be trained")
        if self.qlora and self.save != "adapter":
            raise UsageError("--qlora trains an adapter of a model in 4 bit, which is no other's: say --save adapter")


def settled(
    objective: Objective, optimisation: Optimisation, changed: Mapping[str, Any]
) -> tuple[Objective, Optimisation]:
    """Both with changed settings, each with its own; a name that neither has is passed over."""

    def own(kind: type[Any]) -> dict[str, Any]:
        return {field.name: changed[field.name] for field in dataclasses.fields(kind) if field.name in changed}

    return dataclasses.replace(objective, **own(Objective)), dataclasses.replace(optimisation, **own(Optimisation))


@dataclass(frozen=True)
class Online:
    """Settings of answers that the policy generates during training, instead of the stored ones or beside them.

    Attributes:
        online: ``bdhs`` makes the rejected answer by BDHS, ``povid`` by distortion of the chosen one; ``dpo`` draws two
            answers, of which the annotator prefers one (online DPO); ``sampled``, which rloo and ppo imply, samples
            answers that a reward rates.
        online_every: steps that one round of answers is made for, by the policy before the first of them.
        online_args: ``name=value``: options of the method, which otherwise has its own defaults.
        with_stored: average the answer with the stored rejected ones (eq. 5); None does so for ``povid`` alone.
        mix: p of eq. 4: share of the samples, drawn anew in every epoch, that is trained on as stored.
        fallback: for a sample whose answers come to nothing: ``drop`` leaves it out of its step, ``stored`` trains on
            its stored pair. None drops where a run is to train on the policy's answers alone.
        max_fallback: the run stops when a larger share of the samples comes to nothing.
        similarity_model: as of `prefgen.engines.base.EngineConfig`, and `annotator_revision` likewise.
        annotator: folder or Hub id of the model that compares two answers, or URL of an OpenAI-compatible server.
        annotator_prompt: file with another prompt than ours, see `prefgen.methods.verdicts.Comparer`.
        reward: what rates sampled answers: the folder of a reward model, ``similarity`` to the reference answer,
            ``image-gain`` (both as of `prefgen.methods.rank`), ``judge`` (each answer against its siblings, by the
            annotator) or ``scenes`` (things named rightly minus those invented, by the reference answer).
    """

    online: Maker = option(dataclasses.MISSING, help="Answers that the policy makes meanwhile", panel=_ONLINE)
    online_every: int = option(1, help="Steps that one round of answers is made for.", panel=_ONLINE, low=1)
    online_args: Sequence[str] = option(
        (), "--online-arg", help="An option of the method, name=value; repeatable.", panel=_ONLINE
    )
    with_stored: bool | None = option(
        None,
        "--with-stored/--without-stored",
        help="Average with the stored answers, eq. 5; povid does.",
        panel=_ONLINE,
    )
    mix: float = option(0.0, help="Share of the samples trained on as stored, eq. 4.", panel=_ONLINE, low=0, high=1)
    fallback: Fallback | None = option(None, help="Samples whose answers come to nothing; else by --mix", panel=_ONLINE)
    max_fallback: float = option(0.5, help="Stop if a larger share comes to nothing.", panel=_ONLINE, low=0, high=1)
    similarity_model: str = option("mpnet", help="mpnet (the paper's), minilm, none, folder or Hub id.", panel=_ONLINE)
    annotator: str = option("", help="dpo: model that compares answers, or a server's URL.", panel=_ONLINE)
    annotator_revision: str | None = option(None, help="Its branch, tag or commit.", panel=_ONLINE)
    annotator_prompt: Path | None = option(None, help="A prompt of your own: prefgen prompts export.", panel=_ONLINE)
    reward: str = option(
        "", help="rloo, ppo: folder of a reward model, similarity, image-gain, judge or scenes.", panel=_ONLINE
    )

    def __post_init__(self) -> None:
        check(self)
        samples = self.online == "sampled"
        if samples != bool(self.reward):
            raise UsageError(
                f"--reward is for rloo and ppo, which need one: a reward model's folder, {', '.join(REWARDS)}"
            )
        compares = self.online == "dpo" or self.reward == "judge"
        if compares != bool(self.annotator):
            raise UsageError(
                "--online dpo or --reward judge, and --annotator go together: a model, or the URL of a server, to "
                "compare with"
            )
        if samples and (self.mix or self.with_stored or self.fallback == "stored"):
            raise UsageError(
                "--mix, --with-stored and --fallback stored belong to losses of pairs; rloo and ppo sample"
            )
        if not compares and self.annotator_prompt:
            raise UsageError("--annotator-prompt is for --online dpo: nobody else compares answers")
        if self.online == "dpo" and self.with_stored:
            raise UsageError(
                "--with-stored is for bdhs and povid: the pairs of --online dpo have another chosen answer"
            )
        self.method(0)

    @property
    def averages(self) -> bool:
        """True if the loss averages generated and stored answers."""
        return self.online == "povid" if self.with_stored is None else self.with_stored

    @property
    def falls_back(self) -> Fallback:
        """Fate of a sample without a usable generated answer."""
        return self.fallback or ("stored" if self.mix or self.averages else "drop")

    @property
    def is_pure(self) -> bool:
        """True if stored pairs are never trained on."""
        return not self.mix and not self.averages and self.falls_back == "drop"

    @property
    def served(self) -> bool:
        """True if the annotator is a server."""
        return self.annotator.startswith(("http://", "https://"))

    def method(self, seed: int) -> BDHS | Povid | Rank:
        """The method that generates the answers.

        Raises:
            UsageError: for an argument that is none of its options, or has no such value.
        """
        kind = _KINDS[self.online]
        names = _SAMPLING if self.online == "sampled" else None
        settings: dict[str, Any] = {"seed": seed, **_arguments(kind, self.online_args, names)}
        if self.reward and self.reward != "judge":
            by = self.reward if self.reward in ("similarity", "image-gain") else "reward"
            model = self.reward if by == "reward" else ""
            settings = {"by": by, "prompt": prompts.load("rank-text"), "reward_model": model, **settings}
        elif kind is Rank:
            by, name = ("api", "rank") if self.served else ("annotator", "rank-text")
            settings = {
                "by": by,
                "prompt": prompts.load(name, self.annotator_prompt),
                **({} if self.online == "sampled" else {"candidates": 2}),
                "order": "random",
                **settings,
            }
        made = kind(**settings)
        if parts(made) > 1:
            raise UsageError("--online-arg pairs=all makes several pairs of a row; training takes one")
        return made


def _arguments(kind: type[Any], given: Sequence[str], names: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse ``rho=0.9`` to ``{"rho": 0.9}``, by the type of the option's default.

    Args:
        names: that may be given; None for all that are not decided here.
    """
    known: dict[str, Any] = {
        field.name: field.default
        for field in dataclasses.fields(kind)
        if (field.name not in _OURS if names is None else field.name in names)
    }
    found: dict[str, Any] = {}
    for argument in given:
        name, _, value = argument.partition("=")
        name = name.strip().replace("-", "_")
        if name not in known:
            raise UsageError(f"--online-arg {argument!r} is no option of {kind.name}; choose from {', '.join(known)}")
        default = known[name]
        try:
            if isinstance(default, bool):
                found[name] = {"true": True, "false": False}[value.strip().lower()]
            else:
                found[name] = (int if default is None else type(default))(value.strip())
        except (KeyError, ValueError):
            raise UsageError(f"--online-arg {argument!r} has no such value; its default is {default}") from None
    return found


@dataclass(frozen=True)
class Training:
    """Options of carrying out a training run.

    Attributes:
        sweep: the grid, several runs in place of one.
        keep_all: whether all their models are kept.
        gpus: processes.
        report_to: where Hugging Face's callbacks report to.
    """

    sweep: Sequence[str] = option(
        (), help="Grid: paper, or name=value,value; repeatable.", panel="Training", metavar="<grid>"
    )
    keep_all: bool = option(False, help="Keep all models of a sweep, not the best alone.", panel="Training")
    gpus: int = option(1, help="Processes, one on each GPU; with --device cpu, on the CPU.", panel="Training", low=1)
    report_to: str = option("none", help="tensorboard, wandb, trackio … or none.", panel="Training")

    def __post_init__(self) -> None:
        check(self)
        if self.keep_all and not self.sweep:
            raise UsageError("--keep-all belongs to --sweep")
