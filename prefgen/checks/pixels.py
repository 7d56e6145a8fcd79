"""Whether a trainer shows a picture as prefgen's engines do.

Trainers open a picture and convert it to RGB. That drops transparency where prefgen composes it onto white, and clips
16-bit grey where prefgen scales it; ms-swift and LLaMA-Factory also leave an EXIF orientation unheeded, which
`datasets`, and so TRL, applies. What prefgen stores and exports is what it showed, so that such pictures are only found
in the data of others. A processor of some models composes transparency itself, in a colour of its own.
"""

from __future__ import annotations

from pathlib import Path

import PIL.Image

from prefgen.images import shown_otherwise

TURNED = {"trl": True, "ms-swift": False, "llamafactory": False}
_DAMAGE = (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError)


def problem(picture: bytes | Path | None, trainer: str) -> str:
    """What is shown otherwise, or that the picture is broken; empty where nothing is, or where there is no picture."""
    if picture is None:
        return ""
    try:
        data = picture if isinstance(picture, bytes) else picture.read_bytes()
        found = shown_otherwise(data, turned=TURNED[trainer])
    except _DAMAGE as error:
        return f"cannot be read as a picture: {str(error)[:100]}"
    return (
        f"{trainer} shows other pixels than prefgen's engines ({found}); an import stores what they show"
        if found
        else ""
    )
