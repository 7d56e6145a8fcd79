"""Upload of a finished data set to the Hugging Face Hub: its files unchanged, in one commit.

Nothing is encoded anew, so what is on the Hub has the digests of the manifest. Only ``dataset_info.json`` must name the
repository instead of a folder, and the manifest is made to say so: `prefgen verify` passes on a download. The lock,
temporary files and votes stay at home.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefgen import addresses
from prefgen.errors import CorruptRun, ModelUnreachable, UsageError
from prefgen.rundir.layout import Layout, json_bytes
from prefgen.rundir.verify import verify

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_OWNED = ("data/", "samples/", ".prefgen/")  # folders in which nothing of an earlier push may be left


@dataclass(frozen=True)
class Package:
    """The files of an upload.

    Attributes:
        repository: ``USER/NAME``.
        files: where each file's content is, or that content, by its path in the repository.
    """

    repository: str
    files: Mapping[str, Path | bytes]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(len(file) if isinstance(file, bytes) else file.stat().st_size for file in self.files.values())


def package(out: Path, repository: str) -> Package:
    """Verify a run and collect the files of its repository.

    Raises:
        UsageError: if the name is no ``USER/NAME``, or there is no finished run with a pair in `out`.
        CorruptRun: if anything is wrong with it.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise UsageError(f"{repository!r} is no name of a data set on the Hub: give USER/NAME")
    manifest = checked_manifest(out)
    at = Layout(out)
    info = _hub_info(at, repository)
    name = at.dataset_info.relative_to(out).as_posix()
    manifest["files"][name] = {"sha256": hashlib.sha256(info).hexdigest(), "bytes": len(info)}
    record = json_bytes(manifest)
    digest = f"{hashlib.sha256(record).hexdigest()}  {at.manifest.name}\n".encode()
    files: dict[str, Path | bytes] = {path: out / path for path in manifest["files"]}
    files |= {
        name: info,
        **{
            path.relative_to(out).as_posix(): content
            for path, content in (
                (at.manifest, record),
                (at.manifest_digest, digest),
            )
        },
    }
    return Package(repository, dict(sorted(files.items())))


def checked_manifest(out: Path) -> dict[str, Any]:
    """The manifest of a run, after verifying it.

    Raises:
        UsageError: there is no finished run with a pair in `out`.
        CorruptRun: anything is wrong with it.
    """
    found = verify(out)
    if found.problems:
        first = found.problems[0]
        raise CorruptRun(f"{out} has {len(found.problems)} problems, the first in {first.file}: {first.detail}")
    if not found.finished or not found.pairs:
        raise UsageError(f"{out} is not finished, or has no pair: repeat the command that makes it, then push")
    manifest: dict[str, Any] = json.loads(Layout(out).manifest.read_bytes())
    return manifest


def _hub_info(at: Layout, repository: str) -> bytes:
    """The description for LLaMA-Factory of data on the Hub, for ``dataset_dir=REMOTE:USER/NAME``."""
    (settings,) = json.loads(at.dataset_info.read_bytes()).values()
    kept = {key: value for key, value in settings.items() if key != "file_name"}
    return json_bytes({repository.rpartition("/")[2]: {"hf_hub_url": repository, **kept}})


def push(parcel: Package, *, public: bool) -> str:
    """Upload these files in one commit; returns its address.

    Repeating it goes on: contents that the Hub has already are not sent again. Files of an earlier push that this one
    does not have are removed from data/, samples/ and .prefgen/.

    Raises:
        UsageError: if the repository is there already and not as private, or public, as asked for; or without a token.
        ModelUnreachable: if the Hub cannot be reached or refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
    from huggingface_hub import errors as hub_errors

    addresses.key("HF_TOKEN")  # a header of HTTP cannot hold every character
    api, name = HfApi(), parcel.repository
    try:
        api.create_repo(name, repo_type="dataset", private=not public, exist_ok=True, token=True)
        info = api.dataset_info(name)
        if bool(info.private) == public:
            kind = "private" if info.private else "public"
            raise UsageError(
                f"{name} is there already, and {kind}: {'leave out' if public else 'give'} --public, or change that "
                "in its settings on the Hub"
            )
        there = {sibling.rfilename for sibling in info.siblings or ()}
        stale = sorted(path for path in there - {*parcel.files} if path.startswith(_OWNED))
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            *(CommitOperationAdd(path, file) for path, file in parcel.files.items()),
            *(CommitOperationDelete(path) for path in stale),
        ]
        commit = api.create_commit(name, operations, commit_message="Upload by prefgen push", repo_type="dataset")
    except hub_errors.LocalTokenNotFoundError as error:
        raise UsageError("no token for the Hub: run `hf auth login`, or set HF_TOKEN") from error
    # HTTPError is that of the Hub's HTTP library, which varies; RuntimeError says that a file did not arrive.
    except (hub_errors.HTTPError, OSError, ValueError, RuntimeError) as error:  # type: ignore[attr-defined]
        raise ModelUnreachable(f"the Hub did not take {name}: {error}") from error
    return str(commit.commit_url)
