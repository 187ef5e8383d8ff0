"""Hostile tars: cut, corrupt, dressed up, and full of what is no file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile

from tests.support.hostile import BLOCK, END, Files, blocks, png
from tests.support.hostile_case import FIRST, LAST, Group, between, header

CUT, UNREADABLE, NO_FILE = "truncated_tar", "unreadable_tar", "not_a_file"
MIB = 1 << 20

TARS = Group("tars", "Tars")


def _good() -> bytes:
    return blocks([*FIRST, ("b.png", png(1))])


@TARS.shard(("a", None), ("b", CUT), (None, CUT))
def cut_in_an_image() -> bytes:
    """Cut short in the middle of an image."""
    return _good()[:-BLOCK]


@TARS.shard(("a", None), ("b", CUT), (None, CUT))
def cut_in_a_header() -> bytes:
    """Cut short in the middle of a header."""
    return _good() + blocks(LAST)[:200]


@TARS.shard(("a", None), ("b", CUT), (None, CUT))
def cut_between_members() -> bytes:
    """Cut short between two members: no end-of-archive mark."""
    return _good()


@TARS.shard(("a", None), ("b", CUT), (None, CUT))
def corrupt_header() -> bytes:
    """One byte of a header is wrong."""
    return _good() + b"?" + blocks(LAST)[1:] + END


@TARS.shard(("a", None), ("b", None), (None, "data_after_end"))
def overwritten_with_zeros() -> bytes:
    """A block in the middle was overwritten with zeros, as a disk or a copy does."""
    return _good() + bytes(BLOCK) + blocks(LAST) + END


@TARS.shard(("a", None), ("b", None), (None, "data_after_end"))
def joined() -> bytes:
    """Two tars joined with cat: the second begins after the first one's end."""
    return _good() + END + blocks(LAST) + END


@TARS.shard((None, UNREADABLE))
def no_bytes() -> bytes:
    """A file of zero bytes."""
    return b""


@TARS.shard()
def no_members() -> bytes:
    """A tar without a member: nothing is planned, nothing is lost."""
    return END


@TARS.shard((None, UNREADABLE))
def a_web_page() -> bytes:
    """An HTML page saved under the shard's name."""
    return b"<html>404: the shard is not here</html>" * 50


@TARS.shard((None, UNREADABLE))
def a_zip_file() -> bytes:
    """A zip file named .tar."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr(zipfile.ZipInfo("a.png"), png(0))
    return buffer.getvalue()


@TARS.shard((None, UNREADABLE))
def a_gzip_file() -> bytes:
    """A tar.gz named .tar."""
    return gzip.compress(_good() + END, mtime=0)


@TARS.shard((None, UNREADABLE))
def a_bzip2_file() -> bytes:
    """A tar.bz2 named .tar."""
    return bz2.compress(_good() + END)


@TARS.shard((None, UNREADABLE))
def an_xz_file() -> bytes:
    """A tar.xz named .tar."""
    return lzma.compress(_good() + END)


def _long() -> bytes:
    """A shard that takes more than one read: beside its first image lies what is not read."""
    return blocks([*FIRST, ("a.bin", random.Random(0).randbytes(100_000)), *LAST]) + END


@TARS.shard((None, UNREADABLE), ending=".tar.gz")
def no_gzip() -> bytes:
    """A tar named .tar.gz that is not compressed."""
    return _good() + END


@TARS.shard(("a", CUT), (None, CUT), ending=".tar.gz")
def gzip_cut_short() -> bytes:
    """A .tar.gz cut short."""
    return gzip.compress(_long(), mtime=0)[:80_000]


def _checksum_zeroed(tar: bytes) -> bytes:
    whole = gzip.compress(tar, mtime=0)
    return whole[:-8] + bytes(4) + whole[-4:]


@TARS.shard((None, UNREADABLE), ending=".tar.gz")
def checksum_of_a_small_gzip() -> bytes:
    """A small .tar.gz whose checksum is wrong."""
    return _checksum_zeroed(between([]))


@TARS.shard(("a", CUT), (None, CUT), ending=".tar.gz")
def checksum_of_a_gzip() -> bytes:
    """A .tar.gz whose checksum is wrong."""
    return _checksum_zeroed(_long())


@TARS.shard(("a", None), ("z", None), (None, "corrupt_gzip"), ending=".tar.gz")
def checksum_of_a_padded_gzip() -> bytes:
    """A .tar.gz whose checksum is wrong, which shows only long after the tar's end."""
    return _checksum_zeroed(between([]) + bytes(300_000))


@TARS.shard(("a", None), ("b", "too_large_member"), ("z", None), ending=".tar.gz")
def gzip_bomb() -> bytes:
    """A .tar.gz of 0.5 MB that holds an image member of half a GiB and more, all zeros."""
    zeros = gzip.compress(bytes(16 * MIB), mtime=0)
    bomb = header("b.png", size=33 * 16 * MIB)
    start, end = blocks(FIRST) + bomb, blocks(LAST) + END
    return gzip.compress(start, mtime=0) + 33 * zeros + gzip.compress(end, mtime=0)


@TARS.shard(("a", "too_large_member"), (None, CUT))
def terabytes() -> bytes:
    """An image member that declares four terabytes, in a file of 4 kB."""
    return header("a.png", size=1 << 42) + blocks(LAST) + END


@TARS.shard(("a", None), ("b", CUT), (None, CUT))
def exabytes_passed_over() -> bytes:
    """A member that nobody asks for, and that declares eight exabytes to skip."""
    return blocks(FIRST) + header("b.bin", size=1 << 63) + blocks(LAST) + END


@TARS.shard(("a", None), ("b", CUT), (None, CUT))
def negative_size() -> bytes:
    """A member with a negative size."""
    return blocks(FIRST) + header("b.png", size=-1000) + blocks(LAST) + END


@TARS.shard(("a", CUT), (None, CUT), ending=".tar.gz")
def name_bomb() -> bytes:
    """A .tar.gz with a name of 64 MB."""
    long = header("././@LongLink", bytes(64 * MIB), type=tarfile.GNUTYPE_LONGNAME)
    return gzip.compress(blocks(FIRST) + long + blocks(LAST) + END, mtime=0)


@TARS.shard(("a", CUT), (None, CUT))
def headers_upon_headers() -> bytes:
    """3,000 extended headers in a row, one level of Python's recursion each."""
    one = header("x", b"11 path=abc\n", type=tarfile.XHDTYPE)
    return blocks(FIRST) + 3000 * one + blocks(LAST) + END


@TARS.between(("b", "sparse_member"))
def petabyte_of_holes() -> bytes:
    """A sparse image of a petabyte, in a file of 4 kB."""
    size = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 50), "GNU.sparse.name": "b.png"}
    return header("b.png", pax_headers=size)


@TARS.shard(("a", CUT), (None, CUT))
def garbled_holes() -> bytes:
    """A sparse image whose map of holes is not a map."""
    holes = {"GNU.sparse.map": "x,y", "GNU.sparse.size": "10"}
    return blocks(FIRST) + header("b.png", pax_headers=holes) + blocks(LAST) + END


@TARS.shard(("a", CUT), (None, CUT))
def holes_cut_short() -> bytes:
    """A sparse image whose map of holes continues past the end of the file."""
    odd = bytearray(header("b.png", type=tarfile.GNUTYPE_SPARSE))
    odd[482] = 1  # the map goes on in another block
    odd[148:156] = b" " * 8
    odd[148:156] = b"%06o\0 " % sum(odd[:BLOCK])
    return blocks(FIRST) + bytes(odd)


@TARS.between(("b", None))
def odd_pax_values() -> bytes:
    """PAX records with a time that is not a number, an owner of 40 digits and an unnamed user."""
    return header("b.png", png(1), pax_headers={"mtime": "nan", "uid": "9" * 40, "uname": ""})


@TARS.shard(("a", None), ("b", "too_large_member"), (None, CUT))
def pax_size_lies() -> bytes:
    """A PAX record that declares a member larger than the file."""
    odd = header("b.png", png(1), pax_headers={"size": str(1 << 40)})
    return blocks(FIRST) + odd + blocks(LAST) + END


@TARS.between(("b", NO_FILE))
def symbolic_link() -> bytes:
    """A symbolic link to /etc/passwd, named like an image."""
    return header("b.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")


@TARS.between(("b", NO_FILE))
def hard_link() -> bytes:
    """A hard link to an image of the same shard."""
    return header("b.png", type=tarfile.LNKTYPE, linkname="a.png")


@TARS.between(("b", NO_FILE))
def device() -> bytes:
    """A device (/dev/zero), named like an image."""
    return header("b.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5)


@TARS.between(("b", NO_FILE))
def named_pipe() -> bytes:
    """A named pipe, named like an image."""
    return header("b.png", type=tarfile.FIFOTYPE)


@TARS.between(("b", NO_FILE))
def folder() -> bytes:
    """A folder, named like an image."""
    return header("b.png", type=tarfile.DIRTYPE)


@TARS.between(("b", NO_FILE))
def unknown_kind() -> bytes:
    """A member of a kind that tar does not define."""
    return header("b.png", type=b"Q")


@TARS.between()
def tar_in_a_tar() -> Files:
    """A tar within the tar: it is not opened."""
    return [("b.tar", blocks([("c.png", png(1))]) + END)]
