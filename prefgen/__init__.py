"""prefgen builds preference datasets for multimodal LLMs: as a command line, and as a library.

`build` makes pairs, `import_set` imports them, `open` opens a finished run, `lint` checks it, `train` trains on it;
see `prefgen.api`. Importing this module
imports nothing else: a name is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefgen.api import Run, StoredPair, build, import_set, lint, open, train
    from prefgen.engines.base import EngineConfig
    from prefgen.engines.chat.config import JudgeConfig
    from prefgen.methods import METHODS
    from prefgen.methods.bdhs import BDHS
    from prefgen.methods.corrupt import Corrupt
    from prefgen.methods.image_pairs import ImagePairs
    from prefgen.methods.povid import Povid
    from prefgen.methods.rank import Rank
    from prefgen.runner.reporter import Notebook, Reporter, Silent, Terminal
    from prefgen.sources.options import SourceOptions
    from prefgen.training.config import Objective, Optimisation

__version__ = "0.1.0"
__all__ = [
    "BDHS",
    "METHODS",
    "Corrupt",
    "EngineConfig",
    "ImagePairs",
    "JudgeConfig",
    "Notebook",
    "Objective",
    "Optimisation",
    "Povid",
    "Rank",
    "Reporter",
    "Run",
    "Silent",
    "SourceOptions",
    "StoredPair",
    "Terminal",
    "build",
    "import_set",
    "lint",
    "open",
    "train",
]
_PLACES = {
    **dict.fromkeys(("Run", "StoredPair", "build", "import_set", "lint", "open", "train"), "api"),
    "BDHS": "methods.bdhs",
    "METHODS": "methods",
    "Corrupt": "methods.corrupt",
    **dict.fromkeys(("Notebook", "Reporter", "Silent", "Terminal"), "runner.reporter"),
    **dict.fromkeys(("Objective", "Optimisation"), "training.config"),
    "EngineConfig": "engines.base",
    "ImagePairs": "methods.image_pairs",
    "JudgeConfig": "engines.chat.config",
    "Povid": "methods.povid",
    "Rank": "methods.rank",
    "SourceOptions": "sources.options",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"prefgen.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'prefgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(["__version__", *__all__])
