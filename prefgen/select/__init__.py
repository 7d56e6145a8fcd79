"""Selection of rows of finished runs: mix, filter, split and others. Rows are copied unchanged.

Every operation is a function from inputs to a `Selection`, which says what rows in what order, and how many were left
out and why; `fill` copies them into a run directory with the commits, card and checks of any other run.
"""

from prefgen.select.copying import SelectJob, fill
from prefgen.select.dedup import dedup
from prefgen.select.filtering import keep
from prefgen.select.joining import join
from prefgen.select.leakage import Excluded
from prefgen.select.mixing import Amount, mix, parse_amount
from prefgen.select.near import dedup_near
from prefgen.select.relabelling import relabel
from prefgen.select.selection import Selection
from prefgen.select.splitting import parse_share, split

__all__ = [
    "Amount",
    "Excluded",
    "SelectJob",
    "Selection",
    "dedup",
    "dedup_near",
    "fill",
    "join",
    "keep",
    "mix",
    "parse_amount",
    "parse_share",
    "relabel",
    "split",
]
