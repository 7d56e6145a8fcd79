"""Published preference sets, one file each: an importer whose fields are its options."""

from __future__ import annotations

from prefgen.formats.base import Importer
from prefgen.formats.published.bpo import Bpo
from prefgen.formats.published.ha_dpo import HaDpo
from prefgen.formats.published.llava_rlhf import LlavaRlhf
from prefgen.formats.published.mm_rlhf import MmRlhf
from prefgen.formats.published.povid import PovidSet
from prefgen.formats.published.rlaif_v import RlaifV
from prefgen.formats.published.rlhf_v import RlhfV
from prefgen.formats.published.seva import Seva
from prefgen.formats.published.vlfeedback import VLFeedback

PUBLISHED: tuple[type[Importer], ...] = (PovidSet, RlhfV, RlaifV, VLFeedback, LlavaRlhf, HaDpo, Seva, MmRlhf, Bpo)
