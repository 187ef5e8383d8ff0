"""Tars read as samples, and written byte-stable. What hostile ones become is in test_hostile.py."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pytest

from diffaug.shards import Sample, ShardWriter, read_member, read_samples, split_name
from tests.conftest import SHARDS
from tests.support.hostile import BLOCK, LONG_KEYS, blocks, fashion, png, write_files
from tests.support.jobs import members, webdataset

IMAGES = {"png", "jpg", "webp", "gif", "tiff"}


def _read(data: bytes) -> list[Sample]:
    return list(read_samples(io.BytesIO(data), {*IMAGES, "cls", "txt"}.__contains__))


def test_samples_are_those_webdataset_reads() -> None:
    theirs = webdataset(SHARDS[1])
    ours = _read(SHARDS[1].read_bytes())
    assert [sample.key for sample in ours] == [sample["__key__"] for sample in theirs]
    for sample, other in zip(ours, theirs, strict=True):
        data = {extension: member.data for extension, member in sample.members.items()}
        assert data == {extension: other[extension] for extension in ("png", "cls", "txt")}


def test_a_member_larger_than_asked_for_is_not_read() -> None:
    samples = list(read_samples(io.BytesIO(SHARDS[0].read_bytes()), {"png"}.__contains__, 400))
    large = [sample for sample in samples if sample.defect]
    assert 0 < len(large) < len(samples) == 40
    assert all(len(sample.members["png"].data) <= 400 for sample in samples if not sample.defect)
    assert {sample.defect.code for sample in large if sample.defect} == {"too_large_member"}


def test_a_sample_larger_than_asked_for_is_not_read_whole() -> None:
    stream = io.BytesIO(blocks([("a.png", bytes(60)), ("a.txt", bytes(50)), ("b.png", bytes(110))]))
    first, second, _ = read_samples(stream, {"png", "txt"}.__contains__, max_sample=109)
    assert [sample.defect and sample.defect.code for sample in (first, second)] == [
        "too_large_sample",
        "too_large_sample",
    ]
    assert list(first.members) == ["png"]


def test_a_key_that_comes_again_is_noticed_as_far_back_as_keys_are_remembered() -> None:
    keys = ["a", "b", "a", "c", "d", "a", "b"]
    data = blocks([(f"{key}.png", b"x") for key in keys]) + bytes(2 * BLOCK)

    def noticed(most_keys: int | None) -> list[bool]:
        samples = read_samples(io.BytesIO(data), {"png"}.__contains__, most_keys=most_keys)
        return [sample.defect is not None for sample in samples]

    assert noticed(None) == [False, False, True, False, False, True, True]
    assert noticed(2) == [False, False, True, False, False, False, False]


def test_an_offset_is_where_the_data_begins() -> None:
    raw = SHARDS[0].read_bytes()
    read = [member for sample in _read(raw) for member in sample.members.values()]
    assert len(read) == 120
    assert all(raw[m.offset : m.offset + len(m.data)] == m.data for m in read)


def test_only_what_is_wanted_is_read() -> None:
    stream = io.BytesIO(SHARDS[0].read_bytes())
    for sample in read_samples(stream, {"cls"}.__contains__):
        assert list(sample.members) == ["cls"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("00000.png", ("00000", "png")),
        ("a/b.c/d.seg.PNG", ("a/b.c/d", "seg.png")),
        ("./x.png", ("./x", "png")),
        ("no-extension", None),
        ("folder.d/none", None),
        (".hidden", None),
        ("a/._mac.png", None),
        ("dot.", ("dot", "")),
    ],
)
def test_a_key_ends_at_the_first_dot(name: str, parts: tuple[str, str] | None) -> None:
    assert split_name(name) == parts


CUT = "truncated_tar"


@pytest.mark.parametrize("cut", range(0, 4 * BLOCK, 97))
def test_wherever_a_tar_is_cut_it_says_so(cut: int, tmp_path: Path) -> None:
    whole = write_files(tmp_path / "x.tar", [("a.png", png(0)), ("b.png", png(1))]).read_bytes()
    last = _read(whole[:cut])[-1]
    assert last.key is None
    assert last.defect is not None
    assert last.offset is not None
    assert last.offset <= cut
    if last.defect.code == CUT:
        assert str(last.offset) in last.defect.reason


def test_a_cut_in_a_long_shard_keeps_all_before_it(tmp_path: Path) -> None:
    files = [(f"{n:04d}.png", bytes([n % 251]) * 3000) for n in range(200)]  # beyond any buffer
    whole = write_files(tmp_path / "x.tar", files).read_bytes()
    at = 150 * (BLOCK + 6 * BLOCK) + BLOCK + 1000  # within the 151st image
    samples = _read(whole[:at])
    assert [s.key for s in samples] == [f"{n:04d}" for n in range(151)] + [None]
    assert [s.defect is None for s in samples] == [True] * 150 + [False] * 2


@pytest.mark.parametrize("seed", range(4))
def test_no_bytes_make_reading_raise(seed: int) -> None:
    """Headers with fields overwritten at random, their checksums mended so that they are read."""
    chance = random.Random(seed)
    whole = SHARDS[0].read_bytes()[: 20 * BLOCK] + bytes(2 * BLOCK)
    headers = [at for at in range(0, 20 * BLOCK, BLOCK) if whole[at + 257 : at + 262] == b"ustar"]
    for _ in range(250):
        data = bytearray(whole)
        at = chance.choice(headers)
        for _ in range(chance.randint(1, 4)):
            begin, end = chance.choice([(0, 100), (100, 108), (124, 136), (156, 157), (345, 500)])
            data[at + chance.randrange(begin, end)] = chance.choice(b"0179 \0\x80\xffLKxgSV")
        header = data[at : at + 148] + b" " * 8 + data[at + 156 : at + BLOCK]
        data[at + 148 : at + 156] = b"%06o\0 " % sum(header)
        assert isinstance(_read(bytes(data)), list)


def test_what_is_written_is_what_tarfile_and_webdataset_read(tmp_path: Path) -> None:
    files = {f"{key}.txt": key.encode() for key in ("a", *LONG_KEYS)}
    path = tmp_path / "x.tar"
    with path.open("wb") as stream:
        writer = ShardWriter(stream)
        offsets = {name: writer.add(name, data) for name, data in files.items()}
        writer.close()
    raw = path.read_bytes()
    assert members(path) == files
    assert {sample["__key__"]: sample["txt"] for sample in webdataset(path)} == {
        name.removesuffix(".txt"): data for name, data in files.items()
    }
    for name, data in files.items():
        assert raw[offsets[name] : offsets[name] + len(data)] == data
        assert read_member(io.BytesIO(raw), offsets[name]) == data


def test_a_written_tar_says_nothing_of_when_and_by_whom() -> None:
    written = []
    for _ in range(2):
        stream = io.BytesIO()
        writer = ShardWriter(stream)
        for sample in fashion(3):
            writer.add(f"{sample['__key__'].decode()}.png", sample["png"])
        writer.close()
        written.append(stream.getvalue())
    assert written[0] == written[1]
    with tarfile.open(fileobj=io.BytesIO(written[0])) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.gname) == (0, 0, 0, "", "")
            assert info.mode == 0o644


def test_read_member_refuses_what_is_no_member() -> None:
    with pytest.raises(tarfile.TarError):
        read_member(io.BytesIO(SHARDS[0].read_bytes()), 700)


def test_a_sparse_image_is_not_lost_without_a_word(tmp_path: Path) -> None:
    """tar -S stores a file with holes as its filled parts: here a header, then 10,000 zeros."""
    start = b"P5 100 100 255\n"
    info = tarfile.TarInfo("b.pgm")
    info.size = len(start)
    info.pax_headers = {"GNU.sparse.map": f"0,{len(start)}", "GNU.sparse.size": "10015"}
    sparse = info.tobuf(tarfile.PAX_FORMAT) + start.ljust(BLOCK, b"\0")
    whole = write_files(tmp_path / "x.tar", [("c.png", png(0))]).read_bytes()
    samples = list(read_samples(io.BytesIO(sparse + whole), {"png", "pgm"}.__contains__))
    assert [sample.key for sample in samples] == ["b", "c"]
    assert samples[0].defect or samples[0].members["pgm"].data == start + bytes(10_000)
