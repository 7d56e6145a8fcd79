"""Image pairs: one answer with the image as chosen, and the same answer with a distorted image as rejected.

Asks a model to care what the picture shows, not only which words are better. Needed by the image side of mDPO (Wang et
al., arXiv:2406.11839: a small random crop), CHiP (Fu et al., arXiv:2501.16629: diffusion noise works best) and, as a
pair of its own, of STIC (Deng et al., arXiv:2405.19716: low resolution). Published trainers draw distortions anew in
each epoch, mDPO's even between policy and reference model; here an image is distorted once and stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from prefgen import options, seeds
from prefgen.methods import base
from prefgen.methods.base import reference
from prefgen.records import Image, Pair, Sample
from prefgen.requests import Borrow, Flow, Request, borrow
from prefgen.visibility import NoiseSpace, Schedule

if TYPE_CHECKING:
    import PIL.Image

Distortion = Literal["noise", "downscale", "crop", "patches", "blank", "other"]
DISTORTIONS: tuple[Distortion, ...] = ("noise", "downscale", "crop", "patches", "blank", "other")
_LEAST_CROP = 0.01  # of the picture, as in mDPO
PIXEL_SPACES: tuple[NoiseSpace, ...] = ("pixel-clamp", "pixel-wrap")


@dataclass(frozen=True)
class ImagePairs:
    """Options of the method.

    Attributes:
        distortion: ``noise`` adds diffusion noise, ``downscale`` blurs, ``crop`` cuts a small piece out, ``patches``
            hides cells of a grid, ``blank`` is black, ``other`` is another sample's image (of the same shard).
        noise_steps: N, 0..1000.
        noise_space: of pixels, since the noised picture is stored.
        schedule: as in `prefgen.visibility`.
        side: pixels of the longer side that ``downscale`` leaves.
        crop_area: largest share of the picture that ``crop`` leaves; the smallest is 0.01.
        rho: expected share of cells that ``patches`` hides.
        seed: the run's seed.
    """

    name: ClassVar[str] = "image-pairs"
    asks: ClassVar[tuple[type[Request], ...]] = (Borrow,)

    distortion: Distortion = options.option("noise", help="How the image is spoilt")
    noise_steps: int = base.noise_steps(500, low=1)
    noise_space: NoiseSpace = base.noise_space("pixel-clamp", choices=PIXEL_SPACES)
    schedule: Schedule = base.schedule("paper")
    side: int = options.option(20, help="downscale: pixels that are left.", low=1, high=1000)
    crop_area: float = options.option(0.2, help="crop: largest share that is left.", low=_LEAST_CROP, high=0.99)
    rho: float = base.rho(0.9, "patches: share of the grid that is hidden.")
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        options.check(self)
        base.check_noise(self)

    def __call__(self, sample: Sample) -> Flow:
        """Distort every image of the prompt; no model is asked."""
        answer = reference(sample)
        places = [
            (image, seeds.derive(self.seed, sample.id, index, self.distortion))
            for index, image in enumerate(sample.loaded_images)
        ]
        if self.distortion == "other":
            replies = yield from borrow(*(Borrow(image, seed) for image, seed in places))
            rejected = tuple(reply.image for reply in replies)
        else:
            rejected = tuple(self._distorted(image, seed) for image, seed in places)
        return Pair(
            sample=sample,
            method=self.name,
            variant=self.distortion,
            chosen=answer,
            rejected=answer,
            rejected_images=rejected,
            iteration=1,
            similarity=None,
            seed=self.seed,
            params=dict(vars(self)),
        )

    def explain(self, image_tokens: float) -> Iterator[tuple[str, str]]:
        """The line of the plan that describes the distortion."""
        yield "method", f"{self.name}: the answer is kept, another image is rejected ({self.distortion})"

    def rehearse(self, sample: Sample) -> Iterator[str]:
        """Nothing: no model is asked."""
        return iter(())

    def _distorted(self, image: Image, seed: int) -> Image:
        from prefgen.methods import distortions

        changes: dict[str, Callable[[PIL.Image.Image], PIL.Image.Image]] = {
            "noise": lambda picture: distortions.noise(
                picture, self.noise_steps, seed, self.noise_space, self.schedule
            ),
            "downscale": lambda picture: distortions.downscale(picture, self.side),
            "crop": lambda picture: distortions.crop(picture, (_LEAST_CROP, self.crop_area), seed),
            "patches": lambda picture: distortions.patches(picture, self.rho, seed),
            "blank": distortions.blank,
        }
        return distortions.distorted(image, self.distortion, changes[self.distortion])
