"""Hostile clips through a real job, and the table in docs/clips.md of what became of each.

python -m tests.support.hostile_clips      writes the table again
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pandas as pd
from PIL import Image

from tests.conftest import ROOT
from tests.support.clips import (
    a_million,
    animated,
    container,
    half,
    moving,
    no_frames,
    npy,
    only_sound,
    turned,
    write_clips,
)
from tests.support.jobs import augmented

PAGE = ROOT / "docs/clips.md"
BEGIN, END = "<!-- hostile -->\n", "<!-- /hostile -->\n"
CASES: dict[str, tuple[str, bytes]] = {}
"""Of each clip: what it is, and its bytes."""


def without_first_frame(data: bytes) -> bytes:
    """The same stream from its second packet on: no key frame comes first."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data), "r") as source, av.open(buffer, "w", format="matroska") as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if number and packet.dts is not None:
                packet.stream = stream
                file.mux(packet)
    return buffer.getvalue()


def declares_a_million() -> bytes:
    """An MP4 whose index declares a million frames for its six."""
    data = bytearray(container(moving()))
    for box, place in ((b"stsz", 12), (b"stts", 12)):
        at = data.index(box) + place
        data[at : at + 4] = (10**6).to_bytes(4, "big")
    return bytes(data)


def bomb() -> bytes:
    """An npz of 1 MB whose array declares a gigabyte of zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        whole = npy(np.zeros((1, 512, 512, 3), np.uint8))
        head = whole[: len(whole) - 512 * 512 * 3].replace(b"(1, 512", b"(1400, 512")
        archive.writestr("arr_0.npy", head + bytes(10**8))
    return buffer.getvalue()


def transparent() -> bytes:
    buffer = io.BytesIO()
    first = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    first.save(buffer, "PNG", save_all=True, append_images=[Image.new("RGBA", (32, 32), "blue")])
    return buffer.getvalue()


def add(name: str, what: str, make: Callable[[], bytes]) -> None:
    CASES[name] = what, make()


HDR = {"qp": "0", "bf": "0", "x264-params": "transfer=smpte2084:colorprim=bt2020"}

add("plain", "A plain MP4", lambda: container(moving()))
add(
    "turned",
    "To be shown turned by a quarter, as phones store what they film upright",
    lambda: turned(container(moving())),
)
add("deep", "Of 10 bits", lambda: container(moving(), codec="libx264", pixels="yuv420p10le"))
add(
    "odd",
    "Of odd width and height, 4:4:4",
    lambda: container(moving(size=(47, 39)), codec="libx264", pixels="yuv444p"),
)
add(
    "later",
    "That begins at 7 seconds",
    lambda: container(moving(), times=[7 + n / 10 for n in range(6)], format="matroska"),
)
add(
    "varying",
    "Whose frames are shown for different times",
    lambda: container(moving(), times=[0, 0.1, 0.25, 0.6, 0.65, 1]),
)
add(
    "ordered",
    "Whose frames are stored out of order",
    lambda: container(moving(), options={"qp": "0", "bf": "2"}),
)
add("sound", "With sound", lambda: container(moving(), sound=True))
add("two", "With two video streams", lambda: container(moving(), second=True))
add("clear", "An animated PNG that is transparent", transparent)
add("hdr", "HDR", lambda: container(moving(), codec="libx264", pixels="yuv420p10le", options=HDR))
add(
    "key",
    "Without its first key frame",
    lambda: without_first_frame(container(moving(30), options={"g": "12", "bf": "0"})),
)
add("cut", "An MP4 cut short, its index at the end", lambda: half(container(moving(30))))
add(
    "web",
    "An MP4 cut short, its index at the beginning",
    lambda: half(container(moving(30), index_first=True)),
)
add("mkv", "A Matroska file cut short", lambda: half(container(moving(30), format="matroska")))
add("million", "An MP4 that declares a million frames and has six", declares_a_million)
add("array", "An array that declares a million frames, in 4 kB", a_million)
add("bomb", "An npz that unpacks to a gigabyte", bomb)
add("none", "Without a single frame", no_frames)
add("mute", "Only sound", only_sound)
add("empty", "Zero bytes", lambda: b"")
add("text", "A playlist that names other files", lambda: b"#EXTM3U\nfile:///etc/passwd\n")
add("gif", "A GIF cut short", lambda: half(animated(moving(), "GIF")))


def rows(folder: Path) -> pd.DataFrame:
    """The manifest of a job of all of them, with the size of each copy."""
    shard = write_clips(folder / "hostile.tar", {name: data for name, (_, data) in CASES.items()})
    return augmented([shard], folder / "out", medium="clip", strength=0.02)


def table(found: pd.DataFrame) -> str:
    lines = ["| clip | what became of it | reason code | reason |", "| :--- | :--- | :--- | :--- |"]
    by_key = found.set_index("source_key")
    for name, (what, _) in CASES.items():
        row = by_key.loc[name]
        size = f"{row['output_width']}x{row['output_height']}, {row['output_frames']} frames"
        became = size if row["status"] == "ok" else row["status"]
        why = ("", "") if row["status"] == "ok" else (f"`{row['reason_code']}`", row["reason"])
        lines.append(f"| {what} | {became} | {why[0]} | {why[1]} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = table(rows(Path(folder)))
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n" + made + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
