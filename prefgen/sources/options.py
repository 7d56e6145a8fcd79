"""Options of reading SFT rows and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefgen import addresses
from prefgen.errors import UsageError
from prefgen.image_names import Match
from prefgen.options import DATA, check, option, shared
from prefgen.sources.mapping import parse_columns, parse_roles
from prefgen.sources.questions import read_questions

if TYPE_CHECKING:
    from prefgen.images import ImageRoot
    from prefgen.remote import File
    from prefgen.sources.finding import Inputs

Turns = Literal["all", "first", "last"]


@dataclass(frozen=True)
class SourceOptions:
    """The rows of an input to read, and the places of their images.

    Attributes:
        image_root: folders that image paths are relative to, archives of pictures, or addresses of either; None means
            the input's own folder, then ``images`` in it. Archives in a folder given here are searched as well.
        turns: which assistant turns of a conversation become samples.
        limit: read the first so many outcomes, samples and dropped rows alike.
        sample: draw so many outcomes uniformly at random without replacement, seeded by `seed`, kept in source order.
            Costs one more pass over the input, for the draw. With `limit`, the first of those drawn.
        allow_urls: keep images given by URL; otherwise such rows are dropped.
        split: split of a `datasets` folder or Hub set; None means ``train``, or the only one there is.
        image_match: how much of an image path a file's place must agree with, see `prefgen.image_names`.
        question: what to ask of rows that have an answer or caption and no question; of several lines one is drawn for
            each row. May be given as the path of a file with one question a line.
        keep_refusals: keep rows whose answer is boilerplate of a chat service that refuses or saw no message.
        columns: names of the input's columns, ``question=problem,answer=solution``; an empty one is left out, and
            ``answer=reward_model.ground_truth`` is inside one.
        roles: who the input's speakers are, ``user=Human,assistant=Bot``.
        follow_links: whether a link may lead out of the folder of the images.
        dataset_config: configuration of a Hub set, or of a folder that `datasets` opens, where there are several.
        dataset_revision: its commit, branch or tag; `--revision` is a model's.

    Raises:
        UsageError: `limit` or `sample` is below 1, `image_match` is unknown, `columns` or `roles` cannot be parsed, or
            the file of questions is not there.
    """

    image_root: Sequence[str] = option(
        (), help="Folder, zip or tar of the images, or its address; repeatable. Else beside the input.", panel=DATA
    )
    turns: Turns = option("all", help="Assistant turns to use", panel=DATA)
    limit: int | None = option(None, help="Use the first N rows only.", panel=DATA, low=1)
    sample: int | None = option(None, help="Use N rows drawn at random (the paper: 5000).", panel=DATA, low=1)
    seed: int = shared(0)
    allow_urls: bool = option(False, help="Fetch images given by URL.", panel=DATA)
    split: str | None = option(None, help="Split of a datasets folder or Hub id.", panel=DATA)
    dataset_config: str | None = option(None, help="Configuration of a Hub set or folder that has several.", panel=DATA)
    dataset_revision: str | None = option(None, help="Commit, branch or tag of a Hub set.", panel=DATA)
    image_match: Match = option(
        "exact", help="What of an image path must agree: all, last folders, file name", panel=DATA
    )
    follow_links: bool = option(False, help="Follow links that lead out of the folder of the images.", panel=DATA)
    question: str = option("", help="What to ask about captions; or a file, one question a line.", panel=DATA)
    keep_refusals: bool = option(False, help="Keep reference answers that refuse.", panel=DATA)
    columns: str = option("", help="Names of its columns: question=ask,image=photo.", panel=DATA)
    roles: str = option("", help="Who its speakers are: user=Human,assistant=Bot.", panel=DATA)

    def __post_init__(self) -> None:
        object.__setattr__(self, "question", read_questions(self.question))
        check(self)
        parse_columns(self.columns)
        parse_roles(self.roles)

    def recorded(self) -> dict[str, str | int | float | bool | None]:
        """Every setting under the name by which runs record it, the same in earlier versions."""
        named = {name.removeprefix("dataset_"): value for name, value in vars(self).items()}
        named["image_root"] = " ".join(map(_shown, self.roots)) or None
        return {f"source.{name}": value for name, value in named.items()}

    @property
    def column_names(self) -> Mapping[str, str]:
        """The input's column names by prefgen's name, from `columns`."""
        return parse_columns(self.columns)

    def root(self, input: Inputs) -> ImageRoot:
        """The folders in which the images of `input` may be.

        Raises:
            UsageError: there is no such folder or archive; or, without one, as `find`.
        """
        from prefgen.images import ImageRoot  # Pillow and numpy: not for `prefgen bdhs --help`
        from prefgen.sources.archives import Archives, holds_archives
        from prefgen.sources.finding import find

        if self.roots:
            found = [self._located(str(root)) for root in self.roots]
            folders = tuple(root for root in found if isinstance(root, Path) and root.is_dir())
            archives = [root for root in found if root not in folders or holds_archives(root)]
            archived = Archives(archives) if archives else None
            return ImageRoot(folders, self.image_match, self.follow_links, archived)
        named = find(input, self.allow_urls)
        inputs = [source for source in named if isinstance(source, Path)]  # a Hub set has its images in it
        beside = dict.fromkeys(folder for path in inputs for folder in self._folders(path))
        places = (place for folder in beside for place in (folder, folder / "images"))
        return ImageRoot(tuple(places), self.image_match, self.follow_links)

    def _folders(self, path: Path) -> list[Path]:
        """The folders beside the row files of one input."""
        from prefgen.sources.folder_rows import row_files

        return [path, *(file.parent for file in row_files(path, self.split))] if path.is_dir() else [path.parent]

    @property
    def roots(self) -> Sequence[str]:
        """The roots of `image_root`; empty if images are looked for beside the rows."""
        return [self.image_root] if isinstance(self.image_root, str) else self.image_root

    def _located(self, root: str) -> File:
        from prefgen.remote import RemoteFile
        from prefgen.sources.archives import is_archive
        from prefgen.sources.finding import from_file_address

        if addresses.is_address(root) and not root.lower().startswith("file://"):
            addresses.check_readable(root, self.allow_urls)
            return RemoteFile(root.rstrip("/"))
        path = Path(from_file_address(root)).expanduser()
        if not path.exists():
            raise UsageError(f"--image-root {root} is not there: give a folder, a zip, a tar, or an address of one")
        if path.is_file() and not is_archive(path):
            raise UsageError(f"--image-root {root} is no folder, zip or tar")
        return path


def _shown(root: str | Path) -> str:
    return addresses.public(root) if isinstance(root, str) and addresses.is_address(root) else str(Path(root))
