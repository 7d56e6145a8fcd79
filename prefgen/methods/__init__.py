"""One paper, one file."""

from prefgen.methods.bdhs import BDHS

METHODS = {BDHS.name: BDHS}
