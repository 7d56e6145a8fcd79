"""A small LLaVA, its pictures and rows, which a wheel brings along: `prefgen demo` runs the main job on them.

They are links to `examples/scenes`, where the scripts stand that made them.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
"""Holds ``llava_instruct.json``, ``images/`` and ``model/``."""
