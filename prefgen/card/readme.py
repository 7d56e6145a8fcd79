"""The data-set card, README.md of the finished data set.

Whatever comes from data, options or file names is escaped: a card is rendered as Markdown and HTML on the Hub.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import yaml

import prefgen
from prefgen.card import samples
from prefgen.card.summary import Summary, figures, summarise
from prefgen.linting import Lint, lint
from prefgen.methods import BASELINES, METHODS
from prefgen.rundir import schema
from prefgen.rundir.layout import Layout, Plan

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

_SAMPLE_CHARS = 600

_BODY = Template(
    """\
# $title

Preference pairs for vision-language models, made by prefgen $version. Each row has
pictures, a prompt, a preferred answer (`chosen`) and a worse one (`rejected`), with a record of where both come from.
The method `bdhs` is Bias-Driven Hallucination Sampling of [arXiv 2407.02477](https://arxiv.org/abs/2407.02477) and
`povid-style` the teacher-forced distortion described there; $baselines are simpler
ways in which a model writes a worse answer. `image-pairs` keeps the answer and rejects a distorted picture
(`rejected_images`). `corrupt` is a chat model's corruption of the preferred answer, `rank` a worse one among several
answers of a model, `sentences` a model's invented next sentence beside a verified one. With `revise`, a model's own
answer is the worse one and a chat model's repair of it the preferred one. Any other method is the published set, or the
form, that a pair was imported from.

## Samples

$samples

## How it was made

$command

$provenance

Settings:

$settings

The whole configuration:

$config

## What came out

$figures

A row that gave no pair is kept with its reason in `.prefgen/dropped/`. *Non-similar after iteration i* is figure 10 of
the paper. Where `rejected` is much longer or shorter than `chosen`, a model can learn length instead of truth.

## What could be learned without looking

$lint

## Loading

$loading

`max_length` must be off in TRL: its default cuts image tokens away. `prefgen verify` checks every file and row.

## Columns

$columns

Angle brackets of `<image>`, `<video>` and `<audio>` in a text are stored as `‹` and `›` (flag `media-tag`),
because trainers read such tags as media wherever they are.

## Licences

The licence above covers what the maker of this data set can license. Pictures, questions and preferred answers keep the
terms of the data set they come from (columns `source` and `licence`); answers that a model wrote come under its terms
as well, which may restrict their use.

## Known biases

- Rejected answers that were made here are wrong on purpose: they say what a model makes up when it sees little or
  nothing of the picture. They are no facts about the pictures or the people in them.
- What it makes up follows its prior: frequent objects, stereotyped people and scenes.
- A rejected answer can be right by chance, above all where it is short or flagged `similar`; a preferred answer is as
  good as its source.
- Lengths and styles of the two answers differ, see the figures above.

## Citation

```bibtex
@article{amirloo2024understanding,
  title   = {Understanding Alignment in Multimodal LLMs: A Comprehensive Study},
  author  = {Amirloo, Elmira and Fauconnier, Jean-Philippe and Roesmann, Christoph and Kerl, Christian and
             Boney, Rinu and Qian, Yusu and Wang, Zirui and Dehghan, Afshin and Yang, Yinfei and Gan, Zhe and
             Grasch, Peter},
  journal = {arXiv preprint arXiv:2407.02477},
  year    = {2024}
}
```
"""
)


def render(
    out: Path, command: str, licence: str = "other", language: str = "en", summary: Summary | None = None
) -> str:
    """The card of the run in `out`: Markdown under a YAML header.

    Args:
        command: the command line that makes this data set again.
        licence: identifier for the Hub; ``other`` unless the sources' terms allow a name.
        summary: its figures, if they are known.
    """
    at = Layout(out)
    plan, summary = at.read_plan(), summary or summarise(out)
    name = out.resolve().name
    body = _BODY.substitute(
        title=_plain(name),
        version=_plain(prefgen.__version__),
        baselines=" and ".join(f"`{name}`" for name in BASELINES).replace(" and ", ", ", len(BASELINES) - 2),
        command=_fenced(command, "bash"),
        provenance=_table(("", "model and what ran it"), _provenance(at)),
        settings=_table(
            ("setting", "value"), ((key, json.dumps(plan.fingerprint[key])) for key in sorted(plan.fingerprint))
        ),
        config=_fenced(plan.config, "toml"),
        figures=_table(("", ""), figures(summary).items()),
        samples="\n\n".join(_samples(at)) or "There is no pair to show.",
        lint=_lint(lint(out)) if summary.pairs else "There is no pair to look at.",
        loading=_fenced(_loading(name), "bash"),
        columns=_table(("column", "type", "content"), ((c.name, _type_name(c), c.meaning) for c in schema.COLUMNS)),
    )
    header = yaml.safe_dump(_header(name, licence, language, plan, summary), sort_keys=False)
    return f"---\n{header}---\n\n{body}"


def without_configs(out: Path) -> str | None:
    """The card of a folder without the ``configs`` block that older versions wrote; None if it has no such block.

    With the block, `datasets` keeps what it read under the folder's base name, so that `load_dataset` returns the rows
    of the first run of that name.
    """
    try:
        text = Layout(out).card.read_text(encoding="utf-8")
        front = re.match(r"---\n(.*?)^---\n", text, re.DOTALL | re.MULTILINE)
        header = yaml.safe_load(front[1]) if front else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    if not (front and isinstance(header, dict) and "configs" in header):
        return None
    del header["configs"]
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n{text[front.end() :]}"


def _header(name: str, licence: str, language: str, plan: Plan, summary: Summary) -> Mapping[str, Any]:
    method = re.sub(r"[^a-z0-9-]+", "-", str(plan.fingerprint.get("method", "")).lower()).strip("-")
    tags = ["preference", "dpo", "rlhf", "trl", "image", "hallucination", "prefgen", method]
    # What prefgen generated is a machine's; who annotated an imported set, that set's own card must say.
    generated = {"annotations_creators": ["machine-generated"]} if method in METHODS else {}
    tags += ["synthetic"] if generated else []
    return {
        **generated,
        "license": licence,
        "language": [language],
        "pretty_name": name,
        "size_categories": [next((size for below, size in _SIZES if summary.pairs < below), "n>1M")],
        "task_categories": ["image-text-to-text", "visual-question-answering"],
        "tags": [tag for tag in tags if tag],
        # No `configs`: with that block `datasets` names its cache after the folder alone, and gives the rows of
        # whatever run of that name it read first. Without it the files count, and data/train-* is found all the same.
    }


def _samples(at: Layout) -> Iterator[str]:
    """Some rows: small copies of their pictures, where they exist, and their texts."""
    for number, row in enumerate(samples.rows(at.out)):
        paths = [at.samples / samples.name(number, place) for place in range(len(row["images"]))]
        shown = [f"![sample {number + 1}]({path.relative_to(at.out).as_posix()})" for path in paths if path.exists()]
        texts = [(turn["role"], turn["content"]) for turn in row["conversations"][:-1]]
        texts += [(side, row[f"{side}_response"]) for side in ("chosen", "rejected")]
        said = "\n".join(f"- {name}: {_plain(text[:_SAMPLE_CHARS])}" for name, text in texts)
        yield "\n\n".join([" ".join(shown), said] if shown else [said])


def _lint(found: Lint) -> str:
    """The warnings of `prefgen lint`."""
    grave = found.at_least("warning")
    passed = f"`prefgen lint` found nothing to warn of in {len(found.findings)} figures of {found.rows:,} pairs."
    rows = [(finding.check, finding.level, finding.message, finding.advice) for finding in grave]
    return _table(("check", "level", "found", "what to do"), rows) if rows else passed


def _provenance(at: Layout) -> Iterable[tuple[str, str]]:
    """Models and versions that made the rows; one line unless the run was resumed on another machine."""
    distinct = {json.dumps(commit.provenance, sort_keys=True): commit.provenance for commit in at.read_commits()}
    for made_by in distinct.values():
        yield from ((key, str(value)) for key, value in made_by.items() if value and key != "versions")
        yield "versions", ", ".join(f"{package} {version}" for package, version in sorted(made_by["versions"].items()))


def _loading(name: str) -> str:
    folder, show = f"./{name}", 'import datasets, sys; print(datasets.load_dataset(sys.argv[1], split="train")[0])'
    return "\n".join(
        shlex.join(words)
        for words in (
            ["python", "-c", show, folder],
            ["trl", "dpo", "--dataset_name", folder, "--max_length", "None", "--model_name_or_path", "MODEL"],
            ["swift", "rlhf", "--rlhf_type", "dpo", "--dataset", folder, "--model", "MODEL"],
            ["llamafactory-cli", "train", "dpo.yaml", f"dataset_dir={folder}", f"dataset={name}"],
        )
    )


def _type_name(column: schema.Column) -> str:
    return str(column.type).replace("element: ", "")


def _plain(text: str) -> str:
    """Text with the special characters of Markdown and HTML escaped."""
    line = "".join(character if character.isprintable() else " " for character in text)
    entities = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$@:])", r"\\\1", entities)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(map(_plain, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _fenced(text: str, language: str) -> str:
    """A code block with a fence that its text does not contain."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
