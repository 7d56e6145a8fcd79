"""The lookup of a drawing by kind, action and number.

The drawings are functions of ``living.py``, ``outdoors.py``, ``indoors.py`` and ``tableware.py``, registered there.
"""

from functools import cache

from prefgen.evaluate.scenes import indoors, living, outdoors, tableware  # noqa: F401  (they register their drawings)
from prefgen.evaluate.scenes.pen import PAINTERS, Pen, Sketch


@cache
def sketch(kind: str, action: str | None, drawing: int, colour: str) -> Sketch:
    """The drawing of a kind doing something.

    Args:
        kind: Key of ``KINDS``.
        action: One of its actions, "holding" for a person who holds something, or None.
        drawing: Number of the drawing; numbers start again after the last one.
        colour: One of the kind's colours.
    """
    painters = PAINTERS[kind, action]
    pen = Pen(colour)
    painters[drawing % len(painters)](pen)
    return pen.sketch()
