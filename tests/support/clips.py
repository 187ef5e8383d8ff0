"""Clips for tests, written by PyAV, numpy and Pillow, and owing nothing to diffaug."""

from __future__ import annotations

import io
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.hostile import write_files

Frames = NDArray[np.uint8]
"""(T, H, W, 3)."""


def moving(count: int = 6, size: tuple[int, int] = (48, 40), seed: int = 0) -> Frames:
    """A bright square that moves over a smooth ground, no two frames alike."""
    width, height = size
    random = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 120, width), np.linspace(0, 100, height))
    ground = np.stack([across, down, 60 + 0 * across], axis=-1) + random.integers(0, 60, 3)
    frames = np.repeat(ground[None].astype(np.uint8), count, axis=0)
    for number, frame in enumerate(frames):
        left = 2 * number + int(random.integers(0, 4))
        frame[8:20, left : left + 12] = random.integers(150, 255, 3)
    return frames


def container(
    frames: Frames,
    *,
    format: str = "mp4",
    codec: str = "libx264rgb",
    pixels: str = "rgb24",
    fps: int = 10,
    times: list[float] | None = None,
    options: dict[str, str] | None = None,
    index_first: bool = False,
    sound: bool = False,
    second: bool = False,
) -> bytes:
    """A file of these frames; lossless unless told otherwise.

    Args:
        frames: what is shown.
        format: of the file.
        codec: the encoder.
        pixels: its pixel format.
        fps: frames a second.
        times: when each is shown, in seconds; by default at `fps`.
        options: of the encoder.
        index_first: whether an MP4's index stands before its frames, as on the web.
        sound: whether a second of silence goes with it.
        second: whether another video stream follows, of the frames upside down.
    """
    muxing = {"movflags": "faststart"} if index_first else {}
    with (
        tempfile.NamedTemporaryFile() as whole,  # which is read again to put the index first
        av.open(whole.name, "w", format=format, options=muxing) as file,
    ):
        encoder: Any
        streams: list[tuple[Any, Frames]] = []
        for shown in [frames, frames[:, ::-1]] if second else [frames]:
            given = {"qp": "0", "bf": "0"} if options is None else options
            encoder = file.add_stream(codec, rate=fps, options=given)
            encoder.height, encoder.width = frames.shape[1:3]
            encoder.pix_fmt = pixels
            encoder.codec_context.time_base = Fraction(1, 1000)
            streams.append((encoder, shown))
        voice: Any = file.add_stream("aac", rate=8000, layout="mono") if sound else None
        for encoder, shown in streams:
            for number, pixels_of in enumerate(shown):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_of), format="rgb24")
                at = number / fps if times is None else times[number]
                frame.pts, frame.time_base = round(1000 * at), Fraction(1, 1000)
                file.mux(encoder.encode(frame))
            file.mux(encoder.encode())
        if voice is not None:
            quiet = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
            quiet.sample_rate, quiet.pts = 8000, 0
            file.mux(voice.encode(quiet))
            file.mux(voice.encode())
        file.close()
        return Path(whole.name).read_bytes()


def npy(frames: Frames) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, frames)
    return buffer.getvalue()


def animated(frames: Frames, format: str, **options: Any) -> bytes:
    """An animation as Pillow writes it."""
    buffer = io.BytesIO()
    first, *others = map(Image.fromarray, frames)
    first.save(buffer, format, save_all=True, append_images=others, duration=100, **options)
    return buffer.getvalue()


TURNED = b"".join(
    one.to_bytes(4, "big", signed=True)
    for one in (0, 0x00010000, 0, -0x00010000, 0, 0, 0, 0, 0x40000000)
)
"""The matrix of a phone held upright: to be shown turned by a quarter, clockwise."""


def turned(data: bytes) -> bytes:
    """An MP4 that is to be shown turned: ISO/IEC 14496-12, 8.3.2."""
    matrix = data.index(b"tkhd") + 44
    return data[:matrix] + TURNED + data[matrix + 36 :]


def only_sound() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        voice = file.add_stream("aac", rate=8000)
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        quiet.sample_rate = 8000
        file.mux(voice.encode(quiet))
        file.mux(voice.encode())
    return buffer.getvalue()


def no_frames() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        stream = file.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 40, "bgr0"
        file.start_encoding()
    return buffer.getvalue()


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def a_million() -> bytes:
    """An array of 4,000 bytes that declares a million frames of 512x512."""
    data = npy(np.zeros((1, 512, 512, 3), np.uint8))[:4000]
    return data.replace(b"(1, 512, 512, 3)", b"(1000000, 512, 512, 3)")


def decoded(data: bytes) -> tuple[Frames, list[float]]:
    """The frames of a file and their times, as PyAV has them without further ado."""
    frames, times = [], []
    with av.open(io.BytesIO(data), "r") as file:
        for frame in file.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            assert frame.time is not None
            times.append(frame.time)
    return np.stack(frames), times


def write_clips(path: Path, clips: dict[str, bytes], extension: str = "mp4") -> Path:
    """A shard of clips, each with a class, a text and sound in a file of its own."""
    files: list[tuple[str, bytes]] = []
    for number, (key, data) in enumerate(clips.items()):
        files += [
            (f"{key}.{extension}", data),
            (f"{key}.cls", str(number % 10).encode()),
            (f"{key}.txt", f"a clip called {key}".encode()),
            (f"{key}.wav", b"RIFF of " + key.encode()),
        ]
    return write_files(path, files)
