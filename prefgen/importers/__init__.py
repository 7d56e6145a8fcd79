"""Published preference sets, one file each: SRC becomes a stream of pairs, their images not loaded.

An importer is a frozen dataclass whose fields are its options and which is called with a file, folder or Hub id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from prefgen.importers.ab import Ab
from prefgen.importers.bpo import Bpo
from prefgen.importers.ha_dpo import HaDpo
from prefgen.importers.jsonl import Jsonl
from prefgen.importers.llamafactory import LlamaFactory
from prefgen.importers.llava_rlhf import LlavaRlhf
from prefgen.importers.mm_rlhf import MmRlhf
from prefgen.importers.mmpr import Mmpr
from prefgen.importers.ms_swift import MsSwift
from prefgen.importers.openai_ import OpenAi
from prefgen.importers.povid import Povid
from prefgen.importers.presets import PRESETS, Preset
from prefgen.importers.ranked import Ranked
from prefgen.importers.rlaif_v import RlaifV
from prefgen.importers.rlhf_v import RlhfV
from prefgen.importers.run_rows import RunRows
from prefgen.importers.seva import Seva
from prefgen.importers.trl import Trl
from prefgen.importers.unpaired import Unpaired
from prefgen.importers.vlfeedback import VLFeedback
from prefgen.records import Dropped, Pair

__all__ = ["IMPORTERS", "PRESETS", "Importer", "Preset"]


class Importer(Protocol):
    """What an importer is."""

    name: ClassVar[str]

    @property
    def licence(self) -> str:
        """Licence of the set."""

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""


IMPORTERS = {
    kind.name: kind
    for kind in (
        Povid,
        RlhfV,
        RlaifV,
        VLFeedback,
        LlavaRlhf,
        HaDpo,
        Seva,
        Mmpr,
        MmRlhf,
        Bpo,
        Trl,
        LlamaFactory,
        MsSwift,
        OpenAi,
        Ranked,
        Ab,
        Unpaired,
        Jsonl,
        RunRows,
    )
}
