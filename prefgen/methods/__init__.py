"""One paper, one file."""

from prefgen.methods.append import Append
from prefgen.methods.base import Method
from prefgen.methods.bdhs import BDHS
from prefgen.methods.blind import Blind
from prefgen.methods.contrastive import Contrastive
from prefgen.methods.corrupt import Corrupt
from prefgen.methods.dropout_ntp import DropoutNTP
from prefgen.methods.image_pairs import ImagePairs
from prefgen.methods.povid import Povid
from prefgen.methods.rank import Rank
from prefgen.methods.weakened import Weakened

BASELINES: dict[str, type[Method]] = {kind.name: kind for kind in (DropoutNTP, Blind, Weakened, Contrastive, Append)}
"""What BDHS is compared with, by name; `prefgen baseline` runs them."""

METHODS: dict[str, type[Method]] = {kind.name: kind for kind in (BDHS, Povid, ImagePairs, Corrupt, Rank)} | BASELINES
"""Every method by the name that its pairs carry."""
