"""Pictures in archives and stores: found by the rules for files, read one by one, never more than they may be."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from prefgen import remote
from prefgen.errors import RowError, StoreUnreachable, UsageError
from prefgen.images import DEFAULT_LIMITS, ImageRoot, load
from prefgen.records import ImageRef
from prefgen.sources import SourceOptions, archives
from tests.store import Web, s3


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


KINDS: dict[str, tuple[str, Callable[[dict[str, bytes]], bytes]]] = {
    "zip": (".zip", zipped),
    "stored zip": (".zip", lambda members: zipped(members, zipfile.ZIP_STORED)),
    "tar": (".tar", tarred),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSES_S", (0.0, 0.0))
    archives._index.cache_clear()
    archives._listed.cache_clear()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3() as fs:
        yield fs


def rooted(*roots: str | Path, match: str = "exact", allow_urls: bool = False) -> ImageRoot:
    options = SourceOptions(image_root=tuple(map(str, roots)), image_match=match, allow_urls=allow_urls)  # type: ignore[arg-type]
    return options.root("owner/name")


def loaded(root: ImageRoot, path: str) -> bytes:
    return load(ImageRef(path=path), root).data


def reason(root: ImageRoot, path: str) -> str:
    with pytest.raises(RowError) as caught:
        loaded(root, path)
    return caught.value.reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("member", "path"),
    [
        ("a.png", "a.png"),
        ("a.png", "pics/a.png"),  # unpacked into a folder of the archive's name
        ("pics/a.png", "pics/a.png"),
        ("top/a.png", "a.png"),
        ("sub/a.png", "sub/a.png"),
        ("sub/a.png", "./set/pics/sub/a.png"),
        ("./sub//a.png", "sub/a.png"),
        ("train2017/000000000009.jpg", "coco/train2017/000000000009.jpg"),
        ("train2017/000000000009.jpg", "COCO_train2014_000000000009.jpg"),
        ("sub/é.png", "sub%2Fe\u0301.png"),
    ],
)
def test_a_member_is_found_as_if_it_were_unpacked(kind: str, member: str, path: str, tmp_path: Path) -> None:
    suffix, pack = KINDS[kind]
    file = tmp_path / "set" / f"pics{suffix}"
    file.parent.mkdir()
    file.write_bytes(pack({"other.png": picture(0), member: picture(1)}))
    assert loaded(rooted(file), path) == picture(1)
    if (member, path) != ("top/a.png", "a.png"):  # which only that archive's own folder makes
        assert loaded(rooted(file.parent), path) == picture(1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rules_of_image_match_hold_in_archives(kind: str, tmp_path: Path) -> None:
    suffix, pack = KINDS[kind]
    file = tmp_path / f"pics{suffix}"
    file.write_bytes(pack({"b/a.png": picture(1), "c/a.png": picture(2)}))
    assert reason(rooted(file), "x/b/a.png") == "IMG_MISSING"
    image = load(ImageRef(path="x/b/a.png"), rooted(file, match="tail"))
    assert (image.data, image.how) == (picture(1), "tail")
    assert reason(rooted(file, match="name"), "x/a.png") == "IMG_MISSING"
    assert loaded(rooted(file, match="name"), "x/B/A.JPG") == picture(1)


def test_what_several_archives_have_is_ambiguous_unless_the_path_names_one(tmp_path: Path) -> None:
    for number, name in enumerate(("one.zip", "two.tar")):
        pack = KINDS[name[-3:]][1]
        (tmp_path / name).write_bytes(pack({"1.png": picture(number), f"only-{number}.png": picture(9)}))
    root = rooted(tmp_path)
    assert reason(root, "1.png") == "IMG_AMBIGUOUS"
    assert loaded(root, "one/1.png") == picture(0)
    assert loaded(root, "two/1.png") == picture(1)
    assert loaded(root, "only-1.png") == picture(9)
    assert reason(rooted(tmp_path / "one.zip", tmp_path / "two.tar"), "1.png") == "IMG_AMBIGUOUS"


def test_files_come_before_members_and_roots_may_be_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    (tmp_path / "pics.zip").write_bytes(zipped({"a.png": picture(2), "b.png": picture(3)}))
    other = tmp_path / "other"
    other.mkdir()
    (other / "c.png").write_bytes(picture(4))
    root = rooted(tmp_path, other)
    assert [loaded(root, name) for name in ("a.png", "b.png", "c.png")] == [picture(n) for n in (1, 3, 4)]


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:\\evil.png", "..\\evil.png"])
def test_names_that_lead_out_are_not_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "evil.png").write_bytes(picture(7))
    folder = tmp_path / "in"
    folder.mkdir()
    for suffix, pack in ((".zip", zipped), (".tar", tarred)):
        file = folder / f"x{suffix}"
        file.write_bytes(pack({name: picture(1), "fine.png": picture(2)}))
        root = rooted(file)
        assert reason(root, name) in ("IMG_MISSING", "PATH_OUTSIDE_ROOT")
        assert reason(root, "evil.png") == "IMG_MISSING"
        assert loaded(root, "fine.png") == picture(2)


def test_links_and_devices_are_no_pictures_but_hard_links_are(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(7))
    file = tmp_path / "in" / "x.tar"
    file.parent.mkdir()
    with tarfile.open(file, "w") as archive:
        real = tarfile.TarInfo("real.png")
        real.size = len(picture(1))
        archive.addfile(real, io.BytesIO(picture(1)))
        for name, kind, target in (
            ("link.png", tarfile.SYMTYPE, str(secret)),
            ("hard.png", tarfile.LNKTYPE, "real.png"),
            ("out.png", tarfile.LNKTYPE, "../secret.png"),
            ("device.png", tarfile.CHRTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    root = rooted(file)
    assert loaded(root, "hard.png") == picture(1)
    for name in ("link.png", "out.png", "device.png"):
        assert reason(root, name) == "IMG_MISSING"
    zip_file = tmp_path / "in" / "y.zip"
    with zipfile.ZipFile(zip_file, "w") as packed:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = 0o120777 << 16
        packed.writestr(info, str(secret))
        packed.writestr("fine.png", picture(2))
    assert reason(rooted(zip_file), "link.png") == "IMG_MISSING"


def test_a_bomb_is_refused_by_its_size_and_by_what_comes_out(tmp_path: Path) -> None:
    file = tmp_path / "bomb.zip"
    file.write_bytes(zipped({"big.png": bytes(DEFAULT_LIMITS.max_bytes + 1), "small.png": picture(1)}))
    assert reason(rooted(file), "big.png") == "IMG_SIZE"
    lying = zipped({"big.png": bytes(DEFAULT_LIMITS.max_bytes)})
    true_size, claimed = struct.pack("<L", DEFAULT_LIMITS.max_bytes), struct.pack("<L", 500)
    assert lying.count(true_size) == 2  # local header and central directory
    (tmp_path / "lying.zip").write_bytes(lying.replace(true_size, claimed))
    assert reason(rooted(tmp_path / "lying.zip"), "big.png") == "IMG_UNREADABLE"


def test_members_that_cannot_be_read_cost_their_row_only(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("fine.png", picture(1))
        archive.writestr("lzma.png", picture(2), zipfile.ZIP_LZMA)
        archive.writestr("secret.png", picture(3))
        archive.writestr("damaged.png", picture(4))
    content = bytearray(file.read_bytes())
    for place in [at for at in range(len(content)) if content[at : at + 10] == b"secret.png"]:
        flags = place - 40 if content[place - 46 : place - 42] == b"PK\1\2" else place - 24
        content[flags - 0 if flags == place - 24 else place - 38] |= 1
    at = content.index(picture(4)[20:60])
    content[at] ^= 1
    file.write_bytes(content)
    root = rooted(file)
    assert loaded(root, "fine.png") == picture(1)
    for name in ("lzma.png", "secret.png", "damaged.png"):
        assert reason(root, name) == "IMG_UNREADABLE", name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.zip", zipped({"a.png": picture(1)})[:-30]),
        ("cut.tar", tarred({"a.png": picture(1), "b.png": bytes(20_000)})[:15_000]),
        ("x.tar.gz", zlib.compress(tarred({"a.png": picture(1)}), wbits=31)),
        ("x.bin", b"something else" * 40),
    ],
)
def test_an_archive_that_is_damaged_or_none_stops_the_command(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name.replace(".", r"\.")):
        loaded(rooted(tmp_path / name), "a.png")


def test_a_root_is_recorded_as_before_and_without_credentials(tmp_path: Path) -> None:
    def recorded(*roots: str | Path) -> object:
        return SourceOptions(image_root=tuple(map(str, roots))).recorded()["source.image_root"]

    assert recorded() is None
    assert recorded(tmp_path) == recorded(f"{tmp_path}/") == str(tmp_path)
    assert recorded("s3://key:secret@bucket/a.zip", "b") == "s3://bucket/a.zip b"


def test_a_folder_of_a_store_that_is_not_there_is_said(bucket: Any) -> None:
    for root in ("s3://bucket/none", "s3://no-such-bucket/x", "s3://bucket/none.zip"):
        with pytest.raises(UsageError, match=f"--image-root {root}"):
            loaded(rooted(root), "a.png")
    with Web({}) as web, pytest.raises(UsageError, match="cannot be listed; give a zip or tar"):
        loaded(rooted(f"{web.url}/pictures", allow_urls=True), "a.png")


def test_a_root_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.zip is not there: give a folder, a zip, a tar"):
        rooted(tmp_path / "none.zip")


def test_the_index_of_a_tar_is_kept_and_follows_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_KEPT_MEMBERS", 2)
    file = tmp_path / "x.tar"
    file.write_bytes(tarred({"a.png": picture(1), "b.png": picture(2)}))
    assert loaded(rooted(file), "b.png") == picture(2)
    archives._index.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(archives, "_tar_index", None)  # so that it can only come from the cache
        assert loaded(rooted(file), "b.png") == picture(2)
    file.write_bytes(tarred({"b.png": picture(3), "c.png": picture(4), "d.png": picture(5)}))
    assert loaded(rooted(file), "b.png") == picture(3)


def test_a_cache_that_is_damaged_or_not_writable_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_KEPT_MEMBERS", 1)
    file = tmp_path / "x.tar"
    file.write_bytes(tarred({"a.png": picture(1)}))
    assert loaded(rooted(file), "a.png") == picture(1)
    [kept] = (tmp_path / "cache").rglob("*.json")
    kept.write_text(kept.read_text()[:-5])
    archives._index.cache_clear()
    assert loaded(rooted(file), "a.png") == picture(1)
    archives._index.cache_clear()
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-folder"))
    assert loaded(rooted(file), "a.png") == picture(1)


def test_archives_go_to_workers_without_their_index(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(zipped({f"{n}.png": picture(1) for n in range(500)}))
    root = rooted(file)
    assert loaded(root, "7.png") == picture(1)
    sent = pickle.dumps(root)
    assert len(sent) < 1000
    assert loaded(pickle.loads(sent), "8.png") == picture(1)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_a_store(kind: str, bucket: Any) -> None:
    suffix, pack = KINDS[kind]
    folder = f"bucket/{kind.replace(' ', '-')}"
    bucket.pipe_file(f"{folder}/pics{suffix}", pack({"a.png": picture(1), "sub/b.png": picture(2)}))
    bucket.pipe_file(f"{folder}/loose/c.png", picture(3))
    for root in (rooted(f"s3://{folder}/pics{suffix}"), rooted(f"s3://{folder}"), rooted(f"s3://{folder}/")):
        assert loaded(root, "a.png") == picture(1)
        assert loaded(root, "pics/sub/b.png") == picture(2)
        assert reason(root, "none.png") == "IMG_MISSING"
    assert loaded(rooted(f"s3://{folder}"), "loose/c.png") == picture(3)
    assert loaded(rooted(f"s3://{folder}"), f"{folder}/loose/c.png") == picture(3)
    bucket.rm(f"{folder}/loose/c.png")
    assert reason(rooted(f"s3://{folder}"), "loose/c.png") == "IMG_MISSING"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranges", [True, False])
def test_archives_of_a_web_server_need_leave(kind: str, ranges: bool) -> None:
    suffix, pack = KINDS[kind]
    with Web({f"/pics{suffix}": pack({"a.png": picture(1), "sub/b.png": picture(2)})}, ranges=ranges) as web:
        with pytest.raises(UsageError, match="--allow-urls"):
            rooted(f"{web.url}/pics{suffix}")
        root = rooted(f"{web.url}/pics{suffix}", allow_urls=True)
        assert loaded(root, "sub/b.png") == picture(2)
        assert loaded(root, "pics/a.png") == picture(1)


def test_a_store_that_fails_stops_the_run_and_drops_no_row() -> None:
    with Web({"/pics.zip": zipped({"a.png": picture(1)})}) as web:
        root = rooted(f"{web.url}/pics.zip", allow_urls=True)
        assert loaded(root, "a.png") == picture(1)
        web.status = 503
        with pytest.raises(StoreUnreachable):
            loaded(root, "a.png")
