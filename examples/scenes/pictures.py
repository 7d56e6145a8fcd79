"""Pools of pictures with the truth about every patch, drawn once and kept on disk.

    python examples/scenes/pictures.py --folder DIR --pool vision

Drawing costs about as much as training on what is drawn, so that both stages of the training go several times through a
fixed pool. A pool is written in parts of ``PART`` scenes; one that is there already is not drawn again.
"""

import argparse
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prefgen.evaluate.scenes.render import photo, silhouettes
from prefgen.evaluate.scenes.sample import TRAINING, UNBIASED, World, sample_scene
from prefgen.evaluate.scenes.truth import IMAGE_SIZE, Scene

PATCH_SIZE = 12
PATCHES = IMAGE_SIZE // PATCH_SIZE  # per side
PART = 1000  # scenes in a file
FEWEST_PIXELS = 8  # of a thing in a patch that is said to hold it
CROWDED = replace(UNBIASED, partner_probability=0.3, typical_count_probability=0.3, seed_weights=(0.1, 0.2, 0.4, 0.3))

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pool:
    """Scenes and their pictures.

    Attributes:
        name: Of its files. seed: Of its series of scenes. size: Number of scenes.
    """

    name: str
    world: World
    seed: int
    size: int


def pools(seed: int) -> dict[str, Pool]:
    """The pools of a training: the tower learns on even and crowded scenes, the language model on biased ones."""
    return {
        "vision": Pool("vision", CROWDED, 1_000_003 + seed, 16_000),
        "validation": Pool("validation", UNBIASED, 2_000_003 + seed, 100),
        "language": Pool("language", TRAINING, seed, 14_000),
    }


@dataclass(frozen=True)
class Pictures:
    """A pool in memory.

    Attributes:
        pixels: (N, 144, 144, 3). owners: of every patch, 0 for none, else 1 + number of the object, (N, 144).
    """

    scenes: Sequence[Scene]
    pixels: Pixels
    owners: Pixels


def load(folder: Path, pool: Pool, first: int = 0, count: int | None = None) -> Pictures:
    """Read a pool, drawing the parts that are missing."""
    scenes: list[Scene] = []
    pixels, owners = [], []
    end = pool.size if count is None else min(pool.size, first + count)
    for start in range(first, end, PART):
        stem = folder / f"{pool.name}-{start:06d}"
        if not stem.with_suffix(".npz").exists():
            draw(stem, pool, range(start, min(end, start + PART)))
        scenes += pickle.loads(stem.with_suffix(".pickle").read_bytes())
        with np.load(stem.with_suffix(".npz")) as kept:
            pixels.append(kept["pixels"])
            owners.append(kept["owners"])
    return Pictures(scenes, np.concatenate(pixels), np.concatenate(owners))


def draw(stem: Path, pool: Pool, indices: range) -> None:
    """Draw one part of a pool."""
    scenes = [sample_scene(pool.world, pool.seed, index) for index in indices]
    pixels = np.stack([np.asarray(photo(scene)) for scene in scenes])
    owners = np.stack([patch_owners(scene) for scene in scenes])
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".pickle").write_bytes(pickle.dumps(scenes))
    partial = stem.with_suffix(".partial.npz")
    np.savez(partial, pixels=pixels, owners=owners)
    partial.rename(stem.with_suffix(".npz"))


def patch_owners(scene: Scene) -> Pixels:
    """The object that covers most of each patch, 0 for none: 1 + its number among the objects of the scene, (144,)."""
    numbers = np.asarray(silhouettes(scene)[1])
    patches = numbers.reshape(PATCHES, PATCH_SIZE, PATCHES, PATCH_SIZE).transpose(0, 2, 1, 3).reshape(PATCHES**2, -1)
    objects = sum(thing.count for thing in scene.things)
    counts = np.stack([(patches == number).sum(1) for number in range(1, objects + 1)], axis=1)
    return np.where(counts.max(1) >= FEWEST_PIXELS, counts.argmax(1) + 1, 0).astype(np.uint8)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="folder of the pools")
    parser.add_argument("--pool", choices=["vision", "validation", "language"], required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pool = pools(options.seed)[options.pool]
    for start in range(0, pool.size, PART):
        load(options.folder, pool, start, PART)
        print(f"{pool.name}: {start + PART} of {pool.size}", flush=True)


if __name__ == "__main__":
    main()
