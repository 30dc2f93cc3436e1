"""Members of tars and zips: found whatever the archive looks like, read in any order, never unpacked."""

from __future__ import annotations

import gzip
import io
import multiprocessing
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pytest
from archived import add, write_tar, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.io.readers import archives, uris
from webclean.io.readers.archives import Damage, TarMember, Zip

LONG = "folder/" + "n" * 300 + ".jpg"
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def walk(data: bytes) -> tuple[list[TarMember], dict[str, int], Damage]:
    counted: dict[str, int] = {}
    damage = Damage()

    def skip(kind: str) -> None:
        counted[kind] = counted.get(kind, 0) + 1

    return list(archives.tar_members(io.BytesIO(data), skip, damage)), counted, damage


def tar_of(*members: tuple[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, errors="surrogateescape") as tar:
        for name, data in members:
            add(tar, name, data)
    return out.getvalue()


# ---------------------------------------------------------------- tars
def test_a_members_bytes_are_where_the_header_ends():
    members, counted, damage = walk(tar_of(("a/1.jpg", b"x" * 700), ("b.txt", b"yy")))
    # A header is one block of 512 bytes, and data is filled up to whole blocks.
    assert members == [TarMember("a/1.jpg", 512, 700), TarMember("b.txt", 512 + 1024 + 512, 2)]
    assert counted == {}
    assert damage == Damage()


@pytest.mark.parametrize("format", FORMATS[1:])
def test_long_and_odd_names(format):
    names = [LONG, "ä/ö.jpg", "new\nline.jpg", "\udcff\udcfe.jpg", "../../etc/x.jpg", "/abs.jpg"]
    data = tar_of(*((name, name.encode("utf-8", "surrogateescape")) for name in names), format=format)
    members, _, damage = walk(data)
    assert [m.name for m in members] == names
    for member in members:
        content = data[member.offset : member.offset + member.length]
        assert content == member.name.encode("utf-8", "surrogateescape")
    assert damage == Damage()


def test_what_is_no_file_is_counted():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        add(tar, "folder", type=tarfile.DIRTYPE)
        add(tar, "link.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "hard.jpg", type=tarfile.LNKTYPE, linkname="1.jpg")
        add(tar, "null", type=tarfile.CHRTYPE)
        add(tar, "pipe", type=tarfile.FIFOTYPE)
        add(tar, "volume", b"label", type=b"V")
        add(tar, "1.jpg", b"1")
    members, counted, _ = walk(out.getvalue())
    assert [m.name for m in members] == ["1.jpg"]
    assert counted == {archives.LINKS: 2, archives.DEVICES: 2, archives.ODD_KINDS: 1}


def test_a_sparse_member_cannot_be_read_and_the_next_one_can():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        add(tar, "holes.jpg", b"x" * 600, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
        add(tar, "1.jpg", b"1")
    members, _, _ = walk(out.getvalue())
    assert [(m.name, m.status) for m in members] == [("holes.jpg", "unreadable"), ("1.jpg", None)]


def test_the_map_of_an_old_sparse_member_is_passed_over():
    head = tarfile.TarInfo("holes.jpg")
    head.size, head.type = 5, tarfile.GNUTYPE_SPARSE
    block = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    block[482] = 1  # the map goes on in a block of its own, which says in byte 504 that it is the last one
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    data = bytes(block) + bytes(512) + b"abcde".ljust(512, b"\0") + tar_of(("1.jpg", b"1"))
    members, _, damage = walk(data)
    assert [(m.name, m.offset, m.status) for m in members] == [
        ("holes.jpg", 1024, "unreadable"), ("1.jpg", 1536 + 512, None),
    ]  # fmt: skip
    assert damage == Damage()


def test_a_cut_inside_a_member_an_at_its_border():
    data = tar_of(("1.jpg", b"a" * 600), ("2.jpg", b"b" * 600))
    members, _, damage = walk(data[: 512 + 1024 + 512 + 100])
    assert members[0] == TarMember("1.jpg", 512, 600)
    assert (members[1].length, members[1].status) == (100, "truncated")
    assert members[1].error == "the tar ends after 100 of its 600 bytes"
    assert damage.ends_early
    members, _, damage = walk(data[: 512 + 1024])
    assert [m.name for m in members] == ["1.jpg"]
    assert damage.ends_early
    assert not walk(data)[2].ends_early


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(FORMATS[1:]))
def test_a_tar_cut_anywhere_gives_all_that_lies_before_the_cut(data, format):
    whole = tar_of(
        ("a.jpg", b"1" * 10), (LONG, b"2" * 600), ("c.jpg", b""), ("d.jpg", b"4" * 512), format=format
    )
    expected, _, _ = walk(whole)
    cut = data.draw(st.integers(512, len(whole)))
    members, _, damage = walk(whole[:cut])
    complete = [m for m in expected if m.offset + m.length <= cut]
    assert [m for m in members if m.status is None] == complete
    assert all(m.status == "truncated" for m in members[len(complete) :])
    ends = max(m.offset + -(-m.length // 512) * 512 for m in expected)
    assert damage.ends_early == (cut < ends + 512)


def test_behind_a_broken_header_the_next_ones_are_found():
    data = bytearray(tar_of(("1.jpg", b"a"), ("2.jpg", b"b"), ("3.jpg", b"c")))
    data[1024 : 1024 + 100] = b"\xff" * 100
    members, _, damage = walk(bytes(data))
    assert [m.name for m in members] == ["1.jpg", "3.jpg"]
    assert damage == Damage(ends_early=False, has_gaps=True)


def test_tars_put_behind_each_other_are_read_on():
    data = tar_of(("1.jpg", b"a")) + tar_of(("2.jpg", b"b"))
    members, _, damage = walk(data)
    assert [(m.name, data[m.offset : m.offset + m.length]) for m in members] == [
        ("1.jpg", b"a"),
        ("2.jpg", b"b"),
    ]
    assert damage == Damage()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_tar_with_any_bytes_changed_is_walked_to_its_end(data):
    whole = bytearray(tar_of(("a.jpg", b"1" * 10), (LONG, b"2" * 600), ("d.jpg", b"4")))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        members, _, _ = walk(bytes(whole))
    except OSError:
        return  # nothing of a tar is left
    assert all(0 <= m.offset <= m.offset + m.length <= len(whole) for m in members)


def test_a_header_that_claims_too_much_is_not_read_into_memory():
    head = tarfile.TarInfo("././@LongLink")
    head.type, head.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
    data = head.tobuf(tarfile.GNU_FORMAT) + bytes(2 << 20) + tar_of(("1.jpg", b"a"))
    members, _, damage = walk(data)
    assert [m.name for m in members] == ["1.jpg"]
    assert damage.has_gaps


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "is empty"), (b"<html>gone</html>" * 100, "is no tar"), (b"short", "is no tar"),
     (gzip.compress(tar_of(("1.jpg", os.urandom(2000)))), "is compressed with gzip")],
)  # fmt: skip
def test_what_is_no_tar(data, words):
    with pytest.raises(OSError, match=words):
        walk(data)


def test_an_empty_tar_has_no_members():
    assert walk(tar_of()) == ([], {}, Damage())


# ---------------------------------------------------------------- zips
def names_of(path: Path) -> tuple[list[str], dict[str, int]]:
    counted: dict[str, int] = {}

    def skip(kind: str) -> None:
        counted[kind] = counted.get(kind, 0) + 1

    with Zip(path.open("rb")) as opened:
        return list(opened.names(skip)), counted


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_members_of_a_zip_by_name(tmp_path, method):
    path = write_zip(
        tmp_path / "a.zip", [("b/2.jpg", b"2" * 9000), ("a#1.jpg", b"1"), ("b/", b"")], method=method
    )
    with Zip(path.open("rb")) as opened:
        assert list(opened.names(lambda kind: None)) == ["b/2.jpg", "a#1.jpg"]
        assert (opened.size("b/2.jpg"), opened.read("b/2.jpg"), opened.read("a#1.jpg")) == (
            9000,
            b"2" * 9000,
            b"1",
        )
        with pytest.raises(FileNotFoundError, match="no such member"):
            opened.read("b/3.jpg")


def test_names_of_macos_and_of_windows(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("flagged/ü.jpg", b"1")
        for name, system in (("unflagged/u.jpg", 3), ("dos\\u.jpg", 0), ("old\\u.jpg", 3)):
            info = zipfile.ZipInfo(name)
            info.create_system = system
            archive.writestr(info, b"2")
    # Unflagged UTF-8, as macOS writes it, and a name in code page 437, as old programs do.
    raw = (
        path.read_bytes()
        .replace(b"unflagged/u.jpg", b"unflagge/\xc3\xbc.jpg")
        .replace(b"old\\u.jpg", b"old\\\x81.jpg")
    )
    path.write_bytes(raw)
    names, _ = names_of(path)
    assert names == ["flagged/ü.jpg", "unflagge/ü.jpg", "dos\\u.jpg", "old\\ü.jpg"]
    with Zip(path.open("rb")) as opened:
        assert opened.read("unflagge/ü.jpg") == b"2"
        assert [opened.with_slashes(name) for name in names[2:]] == ["dos/u.jpg", "old\\ü.jpg"]


def test_links_and_repeated_names_are_counted(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("1.jpg", b"old")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("1.jpg", b"new")
    names, counted = names_of(path)
    assert names == ["1.jpg"]
    assert counted == {archives.LINKS: 1, "archive members that a later one of the same name replaces": 1}
    assert uris.read_bytes(uris.of_member(str(path), "1.jpg")) == b"new"  # as unpacking would leave it


def test_an_encrypted_member_says_so(tmp_path):
    path = write_zip(tmp_path / "a.zip", [("1.jpg", b"1" * 50)])
    raw = bytearray(path.read_bytes())
    for start in (6, raw.index(b"PK\x01\x02") + 8):
        raw[start] |= 1
    path.write_bytes(raw)
    with pytest.raises(OSError, match="it is encrypted"):
        uris.read_bytes(uris.of_member(str(path), "1.jpg"))


def test_a_broken_member_is_an_error_of_its_own(tmp_path):
    data = os.urandom(5000)
    path = write_zip(tmp_path / "a.zip", [("1.jpg", data), ("2.jpg", b"2")])
    raw = bytearray(path.read_bytes())
    raw[raw.index(data) + 100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(OSError, match="Bad CRC-32"):
        uris.read_bytes(uris.of_member(str(path), "1.jpg"))
    assert uris.read_bytes(uris.of_member(str(path), "2.jpg")) == b"2"


def test_a_member_cannot_swell_beyond_what_the_list_says(tmp_path):
    path = write_zip(tmp_path / "a.zip", [("1.jpg", bytes(1 << 20))], method=zipfile.ZIP_DEFLATED)
    raw = path.read_bytes().replace(struct.pack("<I", 1 << 20), struct.pack("<I", 1000))
    path.write_bytes(raw)
    with pytest.raises(OSError, match="cannot be read"):
        uris.read_bytes(uris.of_member(str(path), "1.jpg"))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_zip_with_any_bytes_changed_gives_errors_of_its_own(tmp_path_factory, data):
    path = write_zip(
        tmp_path_factory.mktemp("zip") / "a.zip",
        [("1.jpg", b"12" * 40), ("2.jpg", b"3")],
        method=zipfile.ZIP_DEFLATED,
    )
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(len(raw) - 30, len(raw)))])
    try:
        with Zip(path.open("rb")) as opened:
            for name in opened.names(lambda kind: None):
                assert len(opened.read(name)) == opened.size(name)
    except OSError:
        pass  # every error that a broken zip may raise


# ---------------------------------------------------------------- uris
def test_forms_of_uris():
    assert uris.of_span("/x/0.tar", 512, 7) == "/x/0.tar#512+7"
    assert uris.of_member("/x/a.zip", "b#c.zip#d.jpg") == "/x/a.zip#b#c.zip#d.jpg"
    for uri, holder in {
        "/x/0.tar#512+7": "/x/0.tar",
        "/x/a.zip#b#c.zip#d.jpg": "/x/a.zip",
        "/x/a.zip#b/c.parquet#5": "/x/a.zip",
        "/x/a.parquet#5": "/x/a.parquet",
        "/x/a.pq#5:img": "/x/a.pq",
        "file:///x/%FF.tar#0+1": "file:///x/%FF.tar",
    }.items():
        assert uris.local_path(uri) is None
        assert uris.container(uri) == holder
        assert uris.container_path(uri) == uris.local_path(holder)
    for uri in ("/x/0.tar#7", "/x/0.tar", "/x/a.zip", "/x/a.zip#"):
        assert uris.local_path(uri) == Path(uri)
    assert uris.container_path("s3://b/0.tar#512+7") is None
    assert uris.container("s3://b/0.tar#512+7") == "s3://b/0.tar"


@pytest.mark.parametrize("name", ["0.tar#512+7", "a.zip#1.jpg", "t.pq#3", "a.zip#x/0.tar"])
def test_a_file_whose_name_looks_like_a_member_is_a_file(tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"own")
    assert uris.local_path(uris.of_path(file)) == file
    assert uris.read_bytes(uris.of_path(file)) == b"own"
    assert (
        uris.container_path(uris.of_span(uris.of_path(tmp_path / "a.zip#x/0.tar"), 1, 2))
        == tmp_path / "a.zip#x/0.tar"
    )


def test_a_span_of_a_tar(tmp_path):
    path = write_tar(tmp_path / "0.tar", [("1.jpg", b"12345")])
    uri = uris.of_span(uris.of_path(path), 512, 5)
    assert uris.read_bytes(uri) == b"12345"
    with pytest.raises(uris.TooManyBytesError, match="5 bytes are more than 4"):
        uris.read_bytes(uri, max_bytes=4)
    os.truncate(path, 514)
    with pytest.raises(OSError, match="ends after 2 of its 5 bytes"):
        uris.read_bytes(uri)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        uris.read_bytes(uri)


def test_a_zip_that_changes_is_opened_anew(tmp_path):
    path = write_zip(tmp_path / "a.zip", [("1.jpg", b"12345")])
    uri = uris.of_member(uris.of_path(path), "1.jpg")
    assert uris.read_bytes(uri) == b"12345"
    with pytest.raises(uris.TooManyBytesError, match="5 bytes are more than 4"):
        uris.read_bytes(uri, max_bytes=4)
    write_zip(path, [("0.jpg", b"0"), ("1.jpg", b"678")])
    assert uris.read_bytes(uri) == b"678"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        uris.read_bytes(uri)


def _read_all(reads: list[tuple[str, bytes]]) -> bool:
    return all(uris.read_bytes(uri) == data for uri, data in reads * 20)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_readers_do_not_share_an_open_zip(tmp_path):
    # What a torch DataLoader does: read one image, then fork workers that read others.
    data = [(f"{i}.jpg", os.urandom(20_000)) for i in range(8)]
    path = write_zip(tmp_path / "a.zip", data)
    reads = [(uris.of_member(str(path), name), content) for name, content in data]
    assert _read_all(reads[:1])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_read_all, [reads, reads[::-1]]) == [True, True]


def test_members_of_remote_archives(tmp_path):
    tar = write_tar(tmp_path / "0.tar", [("1.jpg", b"12345")])
    archive = write_zip(tmp_path / "a.zip", [("c/1.jpg", b"678")])
    for path in (tar, archive):
        with fsspec.open(f"memory://shards/{path.name}", "wb") as out:
            out.write(path.read_bytes())
    assert uris.read_bytes("memory://shards/0.tar#512+5") == b"12345"
    assert uris.read_bytes("memory://shards/a.zip#c/1.jpg") == b"678"
    with pytest.raises(uris.TooManyBytesError):
        uris.read_bytes("memory://shards/a.zip#c/1.jpg", max_bytes=2)
