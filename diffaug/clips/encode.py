"""From a clip to a file, whose bytes depend on the clip alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from math import lcm
from typing import TYPE_CHECKING, Any

import numpy as np

from diffaug.clips.clip import FINEST, Clip, Sound
from diffaug.clips.containers import pyav, said
from diffaug.errors import DefectError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet

__all__ = ["encode_clip"]

_CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    # lossless; without frames out of order, every player starts at 0
    "mp4": ("libx264rgb", "rgb24", {"qp": "0", "preset": "veryfast", "bf": "0"}),
    "apng": ("apng", "rgb24", {"pred": "mixed"}),
    "webm": ("libvpx-vp9", "yuv420p", {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4"}),
}
"""Of each format: the encoder, its pixels, and its options."""

_SLOWEST = Fraction(1, 1001)
"""The lowest rate that is declared; when frames are shown, their own times say."""


def encode_clip(clip: Clip, format: str) -> bytes:
    """Encode a clip.

    Args:
        clip: the clip.
        format: `mp4`, lossless H.264 in RGB with the clip's sound, as it is; `apng`, lossless; or
            `webm`, VP9, which is not. The encoders run in one thread, since their bytes depend on
            the number.

    Raises:
        DefectError: the encoder does not take it.
    """
    av = pyav()
    try:
        return _encoded(av, clip, format)
    except (av.error.FFmpegError, ArithmeticError, ValueError) as error:
        raise DefectError(
            "unwritable_clip", f"the clip cannot be stored as {format}: {said(error)}"
        ) from None


def _encoded(av: Any, clip: Clip, format: str) -> bytes:
    codec, pixels, options = _CODECS[format]
    unit = _unit(clip)
    buffer = io.BytesIO()
    muxing = {"fflags": "+bitexact"} | ({"plays": "0"} if format == "apng" else {})
    with av.open(buffer, "w", format=format, options=muxing) as file:
        stream = file.add_stream(codec, rate=_rate(clip), options=options)
        stream.width, stream.height = clip.size
        stream.pix_fmt = pixels
        stream.time_base = unit
        context = stream.codec_context
        context.time_base = unit
        context.thread_count = 1
        context.flags |= av.codec.context.Flags.bitexact
        context.sample_aspect_ratio = clip.aspect
        sound = _sound(clip.sound, file) if clip.sound and format == "mp4" else iter(())
        times = [round(time / unit) for time in (*clip.times, clip.end)]
        lasts = {begin: end - begin for begin, end in pairwise(times)}
        for begin, frame in zip(lasts, clip.frames, strict=True):
            shown = av.VideoFrame.from_ndarray(np.asarray(frame.convert("RGB")), format="rgb24")
            shown.pts, shown.time_base = begin, unit
            file.mux(_lasting(stream.encode(shown), lasts))
        file.mux(_lasting(stream.encode(), lasts))
        for packet in sound:
            file.mux(packet)
    return buffer.getvalue()


def _lasting(packets: list[Any], lasts: dict[int, int]) -> list[Any]:
    """The packets, each with how long its frame is shown, of which encoders guess the last."""
    for packet in packets:
        packet.duration = lasts[packet.pts]
    return packets


def _unit(clip: Clip) -> Fraction:
    """A unit of time of which every frame's time is a multiple, unless that were very small."""
    parts = lcm(*(time.denominator for time in (*clip.times, clip.end)))
    return Fraction(1, min(parts, FINEST))


def _rate(clip: Clip) -> Fraction:
    return max(_SLOWEST, Fraction(len(clip.frames) / clip.end).limit_denominator(1001))


def _sound(sound: Sound, file: Any) -> Iterator[Packet[AudioStream]]:
    """The packets of a file's sound, for another file, which is given a stream for them at once."""
    source = pyav().open(io.BytesIO(sound.data), format=sound.format)
    heard = source.streams.audio[0]
    stream = file.add_stream_from_template(heard)
    video = source.streams.video[0]

    def packets() -> Iterator[Packet[AudioStream]]:
        with closing(source):
            begin = (video.start_time or 0) * video.time_base
            for packet in source.demux(heard):
                if packet.dts is None:
                    continue
                shift = round(begin / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                yield packet

    return packets()
