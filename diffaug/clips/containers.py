"""Clips in MP4, WebM and Matroska files, read by FFmpeg through PyAV.

Of several video streams the first counts, as in most players. Nothing but the file's own bytes is
opened, since the formats are named and references to other files stay off.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from PIL import Image

from diffaug.clips.clip import Clip, Selection, Shown, clip_of, refuse_long
from diffaug.errors import ConfigError, DefectError
from diffaug.pictures.codec import picture

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["container", "pyav"]

_HDR = {16: "PQ (SMPTE ST 2084)", 18: "HLG (ARIB STD-B67)"}
"""Transfer functions by FFmpeg's numbers, that 8 bits in sRGB hold only after a choice."""

_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}

_SHORT = Fraction(1, 10)
"""A file that ends before this share of what it declares is missing was not cut short."""


def pyav() -> Any:
    """The module `av`.

    Raises:
        ConfigError: the extra that has it is not installed.
    """
    try:
        import av
    except ModuleNotFoundError:
        raise ConfigError(
            "clips require PyAV: install diffaug[video] (its wheels hold FFmpeg with codecs under "
            "the GPL)"
        ) from None
    return av


def container(
    data: bytes, format: str, max_pixels: int, background: str | None, selection: Selection
) -> Clip:
    """Decode a file of a format that FFmpeg names `mov` or `matroska`; see `decode.decode_clip`."""
    av = pyav()
    try:
        with av.open(io.BytesIO(data), format=format, metadata_errors="ignore") as opened:
            stream = _video(opened, max_pixels, selection)
            shown = selection.of(_shown(opened, stream, background))
            heard = selection.all and bool(opened.streams.audio)
            aspect = stream.sample_aspect_ratio or Fraction(1)
    except av.error.FFmpegError as error:
        raise DefectError(
            "unreadable_clip", f"the clip cannot be decoded: {_said(error)}"
        ) from None
    turned = shown[0].frame.size != (stream.codec_context.width, stream.codec_context.height)
    return clip_of(shown, 1 / aspect if turned else aspect, data if heard else None)


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _video(opened: InputContainer, max_pixels: int, selection: Selection) -> VideoStream:
    """The stream to read, after what it declares is checked."""
    if not opened.streams.video:
        what = "sound only" if opened.streams.audio else "no stream that can be shown"
        raise DefectError("no_video", f"the clip has {what}")
    stream = opened.streams.video[0]
    context = stream.codec_context
    if context is None:
        raise DefectError("unreadable_clip", "the clip is in a codec that FFmpeg does not decode")
    size = context.width, context.height
    if size[0] * size[1] > max_pixels:
        raise DefectError(
            "too_many_pixels",
            f"the clip declares frames of {size[0]}x{size[1]} pixels, more than "
            f"max_pixels={max_pixels}",
        )
    if selection.all:
        refuse_long(stream.frames, size)
    if (hdr := _HDR.get(int(context.color_trc))) is not None:
        raise DefectError(
            "hdr_clip",
            f"the clip is HDR, {hdr}, which has no one meaning in 8 bits: convert it to SDR first",
        )
    stream.thread_type = "AUTO"
    return stream


def _shown(opened: InputContainer, stream: VideoStream, background: str | None) -> Iterator[Shown]:
    """The stream's frames, after which the file must not have ended before it declares."""
    first: Fraction | None = None
    usual, reached = 1 / Fraction(stream.guessed_rate or 25), Fraction(0)
    for packet in opened.demux():
        if packet.pts is not None and packet.time_base is not None:
            reached = max(reached, (packet.pts + (packet.duration or 0)) * packet.time_base)
        if packet.stream is not stream:
            continue
        for frame in stream.decode(packet):
            if frame.is_corrupt:
                raise DefectError("unreadable_clip", "the clip has a frame that is damaged")
            if frame.pts is None or frame.time_base is None:
                raise DefectError("unreadable_clip", "the clip does not say when a frame is shown")
            begin = frame.pts * frame.time_base
            first = begin if first is None else first
            lasts = frame.duration * frame.time_base if frame.duration else usual
            yield Shown(begin - first, begin - first + lasts, _picture(frame, background))
    if opened.duration is None:
        return
    declared = Fraction(opened.duration + max(0, opened.start_time or 0), 1_000_000)
    if reached < declared * (1 - _SHORT):
        raise DefectError(
            "truncated_clip",
            f"the clip is cut short: it ends after {float(reached):.2f} of the "
            f"{float(declared):.2f} seconds that it declares",
        )


def _picture(frame: VideoFrame, background: str | None) -> Image.Image:
    """A frame as mode L or RGB, upright.

    Colours are converted by the parts of swscale that give the same bits on every processor.
    """
    from av.video.reformatter import Interpolation

    exact = (
        Interpolation.BILINEAR
        | Interpolation.ACCURATE_RND
        | Interpolation.BITEXACT
        | Interpolation.FULL_CHR_H_INT
    )
    alpha = any(component.is_alpha for component in frame.format.components)
    name = "rgba" if alpha else "rgb24"
    converted = frame.reformat(format=name, interpolation=exact, threads=1)
    image = Image.fromarray(converted.to_ndarray())
    turn = frame.rotation % 360
    if turn in _TURNS:
        image = image.transpose(_TURNS[turn])
    elif turn:
        raise DefectError("turned_clip", f"the clip is to be shown turned by {turn} degrees")
    return picture(image, background).shown
