"""What may be in a package: nothing that leaves its folder, and no more than it says."""

import contextlib
import errno
import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.archives import ArchiveLimits, check_archive
from scheduler.errors import Refused, StorageUnavailable
from scheduler.files import FileStore
from tests.ray_api.live import package

MIB = 1024**2
SMALL = ArchiveLimits(entries=20, unpacked_bytes=MIB, ratio=10, ratio_from_bytes=100_000)


async def pieces(content: bytes, size: int = 4096):
    for start in range(0, len(content), size):
        yield content[start : start + size]


def checked(tmp_path: Path, content: bytes, limits: ArchiveLimits = SMALL) -> None:
    file = tmp_path / "package.zip"
    file.write_bytes(content)
    check_archive(file, limits)


def entry(name: str, kind: int = stat.S_IFREG, content: bytes = b"x") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, content)
    return made.getvalue()


def renamed(content: bytes, old: bytes, new: bytes) -> bytes:
    """Write a name that `zipfile` itself would not, in both places that say it."""
    assert len(old) == len(new)
    assert content.count(old) == 2
    return content.replace(old, new)


def encrypted(content: bytes) -> bytes:
    at = content.index(b"PK\x01\x02") + 8
    return content[:at] + struct.pack("<H", 1) + content[at + 2 :]


def counted_wrong(content: bytes) -> bytes:
    """Say in the end record that there is one entry, whatever there is."""
    at = content.rindex(b"PK\x05\x06") + 8
    return content[:at] + struct.pack("<HH", 1, 1) + content[at + 4 :]


def zip64(content: bytes) -> bytes:
    at = content.rindex(b"PK\x05\x06")
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, 0, 1)
    return content[:at] + locator + content[at:]


ZEROS = bytes(300_000)
NOISE = os.urandom(200_000)


def test_an_ordinary_package_passes(tmp_path):
    checked(tmp_path, package({"a/": "", "a/b.py": "x", "c.bin": NOISE, ".hidden": "y", "..x": ""}))


def test_an_empty_package_passes(tmp_path):
    checked(tmp_path, package({}))


def test_a_small_file_of_zeros_is_no_bomb(tmp_path):
    checked(tmp_path, package({"zeros": bytes(90_000)}))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "not a zip", id="nothing"),
        pytest.param(b"hello" * 100, "not a zip", id="text"),
        pytest.param(package({"a": NOISE})[:-30], "not a zip", id="cut off"),
        pytest.param(b"PK\x05\x06" + b"\xff" * 18, "larger than the file", id="a false directory"),
        pytest.param(entry("../up"), "'..'", id="up"),
        pytest.param(entry("a/../../up"), "'..'", id="up from within"),
        pytest.param(entry("a\\..\\..\\up"), "'..'", id="up with backslashes"),
        pytest.param(entry("/etc/cron.d/x"), "absolute", id="absolute"),
        pytest.param(entry("\\windows\\x"), "absolute", id="absolute with backslashes"),
        pytest.param(entry("C:\\x"), "absolute", id="a drive"),
        pytest.param(entry("c:x"), "absolute", id="a drive's own folder"),
        pytest.param(entry("a" * 300), "too long", id="a name too long for a disk"),
        pytest.param(entry("a/" * 2100), "too long", id="a path too long for a disk"),
        pytest.param(entry("link", stat.S_IFLNK, b"/etc"), "symbolic link", id="a link"),
        pytest.param(entry("pipe", stat.S_IFIFO), "neither", id="a pipe"),
        pytest.param(entry("device", stat.S_IFBLK), "neither", id="a device"),
        pytest.param(encrypted(entry("secret")), "encrypted", id="encrypted"),
        pytest.param(package({f"f{n}": "" for n in range(21)}), "20 entries", id="many entries"),
        pytest.param(
            counted_wrong(package({f"f{n}": "" for n in range(21)})),
            "20 entries",
            id="many entries, said to be one",
        ),
        pytest.param(zip64(package({"a": "x"})), "zip64", id="zip64"),
        pytest.param(package({"zeros": ZEROS}), "bomb", id="a bomb"),
        pytest.param(
            package({f"zeros{n}": ZEROS[:90_000] for n in range(4)}), "bomb", id="a bomb in parts"
        ),
        pytest.param(package({f"n{n}": NOISE for n in range(6)}), "unpack to", id="too much"),
        pytest.param(package({"in.zip": package({"zeros": ZEROS})}), "bomb", id="a bomb inside"),
        pytest.param(
            package({"in.WHL": package({f"f{n}": "" for n in range(20)})}),
            "20 entries",
            id="many entries inside",
        ),
    ],
)
def test_what_is_not_safe_to_unpack_is_400_with_the_reason(tmp_path, content, reason):
    with pytest.raises(Refused) as caught:
        checked(tmp_path, content)
    assert caught.value.status == 400
    assert reason in caught.value.sentence()


def test_a_broken_archive_inside_is_some_programs_test_data(tmp_path):
    checked(tmp_path, package({"fixture.zip": b"PK\x03\x04 broken", "evil.zip": entry("../up")}))


def test_a_nested_archive_too_large_to_look_into_is_refused(tmp_path):
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a", NOISE)
    with pytest.raises(Refused, match="is an archive of"):
        checked(tmp_path, package({"in.zip": stored.getvalue()}))


def test_a_name_that_is_not_what_it_seems_is_checked_as_it_will_be_unpacked(tmp_path):
    content = renamed(entry("aaaaa/x"), b"aaaaa/x", b"../../x")
    with pytest.raises(Refused, match=r"'\.\.'"):
        checked(tmp_path, content)


NAMES = st.text(st.sampled_from("ab./\\:C\0~ é\n"), max_size=12)


@given(names=st.lists(NAMES, max_size=4), kind=st.sampled_from([0, stat.S_IFREG, stat.S_IFLNK]))
@settings(deadline=None)
def test_whatever_passes_unpacks_inside_its_folder(tmp_path_factory, names, kind):
    """Every path of a package that passes stays in, however it is joined to the folder."""
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in dict.fromkeys(names):
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # As it stands: the constructor would clean it.
            info.external_attr = (kind | 0o777) << 16
            archive.writestr(info, b"x")
    try:
        checked(folder, made.getvalue())
    except Refused:
        return
    root = folder / "root"
    with zipfile.ZipFile(made) as archive:
        for info in archive.infolist():
            assert not stat.S_ISLNK(info.external_attr >> 16)
            for name in (info.filename, info.filename.replace("\\", "/")):
                assert Path(os.path.normpath(root / name)).is_relative_to(root)


@given(st.binary(max_size=400), st.data())
@settings(deadline=None)
def test_damaged_packages_are_refused_or_harmless_but_never_an_error(tmp_path_factory, noise, data):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    content = bytearray(package({"a.py": "x" * 50, "in.zip": package({"b": "y"})}))
    at = data.draw(st.integers(0, len(content)))
    content[at : at + len(noise) // 8] = noise
    with contextlib.suppress(Refused):
        checked(folder, bytes(content))


# The store


async def test_a_package_is_kept_under_the_sha256_of_its_bytes(tmp_path):
    store = FileStore(tmp_path, 1000)
    content = package({"main.py": "print(1)"})
    sha256, size = await store.put_package(pieces(content), MIB)
    assert size == len(content)
    with store.open_package(sha256) as file:
        assert file.read() == content
    assert (await store.put_package(pieces(content), MIB)) == (sha256, size)
    assert [file.name for file in (tmp_path / "packages").iterdir()] == [sha256]


async def test_a_package_above_the_limit_is_413_and_leaves_nothing(tmp_path):
    store = FileStore(tmp_path, 1000)
    with pytest.raises(Refused) as caught:
        await store.put_package(pieces(bytes(10_001)), 10_000)
    assert caught.value.status == 413
    assert list((tmp_path / "packages").iterdir()) == []


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path):
    store = FileStore(tmp_path, 1000)

    async def broken():
        yield b"PK"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.put_package(broken(), MIB)
    assert list((tmp_path / "packages").iterdir()) == []


async def test_a_new_store_deletes_what_a_killed_one_had_half_received(tmp_path):
    FileStore(tmp_path, 1000)
    left = tmp_path / "packages" / ".incoming-abc"
    left.write_bytes(b"half")
    FileStore(tmp_path, 1000)
    assert not left.exists()


async def test_a_new_store_leaves_alone_what_another_process_receives(tmp_path):
    store = FileStore(tmp_path, 1000)
    seen = []

    async def slowly():
        yield b"PK"
        FileStore(tmp_path, 1000)
        seen.extend((tmp_path / "packages").iterdir())

    with pytest.raises(Refused):
        await store.put_package(slowly(), MIB)
    assert len(seen) == 1


async def test_a_full_disk_is_storage_unavailable_with_the_reason(tmp_path, monkeypatch):
    store = FileStore(tmp_path, 1000)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnavailable, match="the disk is full"):
        await store.put_package(pieces(package({"a": "x"})), MIB)
    assert list((tmp_path / "packages").iterdir()) == []


def test_a_package_is_only_ever_named_by_a_sha256(tmp_path):
    store = FileStore(tmp_path, 1000)
    for name in ("../hub.db", "a" * 63, "A" * 64, "a" * 64 + "\n"):
        with pytest.raises(ValueError, match="SHA-256"):
            store.open_package(name)
    assert store.open_package("a" * 64) is None
