"""The data sets of the paper's tables 3, 4 and 5 (arXiv 2407.02477) as settings of importers.

Tables 3 and 5 compare sets as published and subsampled to 5,000 pairs at random; which ones was not published, so the
draw here is prefgen's own (``--seed``). Table 4 takes VLFeedback apart: all prompts or those of LLaVA's SFT data, the
chosen answer by whichever model is ranked first, by GPT-4V or by LLaVA-1.5-7B. Its corrupted rejected answers are made
in a further step: ``prefgen relabel --rejected-from`` puts them in, whichever model wrote them.

The pattern for LLaVA's prompts is a guess at how their row ids start; ``--prompt-source`` sets another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SUBSET = 5000


@dataclass(frozen=True)
class Preset:
    """An importer with options.

    Attributes:
        table: where the paper lists it.
        sample: pairs to draw; None takes all.
    """

    importer: str
    table: str
    sample: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)


PRESETS = {
    "vlfeedback-80k": Preset("vlfeedback", "3"),
    "povid-17k": Preset("povid", "3"),
    "rlhf-v-5.7k": Preset("rlhf-v", "3"),
    "vlfeedback-5k": Preset("vlfeedback", "3, 4, 5", SUBSET),
    "povid-5k": Preset("povid", "3, 6", SUBSET),
    "rlhf-v-5k": Preset("rlhf-v", "3", SUBSET),
    "vlfeedback-llava-prompts-5k": Preset("vlfeedback", "4, 5", SUBSET, {"prompt_source": "llava-*"}),
    "vlfeedback-gpt4v-5k": Preset("vlfeedback", "4, 5", SUBSET, {"chosen_model": "gpt-4*"}),
    "vlfeedback-llava-5k": Preset("vlfeedback", "4, 5", SUBSET, {"chosen_model": "llava-v1.5-7b"}),
}
