"""Clips in MP4, WebM and Matroska files, read by FFmpeg through PyAV.

Of several video streams the first counts, as in most players. Nothing but the file's own bytes is
opened, since the formats are named and references to other files stay off.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

from PIL import Image

from diffaug.clips.boxes import refuse_fabricated
from diffaug.clips.clip import Clip, Selection, Shown, Sound, clip_of, refuse_long
from diffaug.errors import DefectError, require_extra
from diffaug.pictures.codec import picture

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["container", "pyav", "said"]

_HDR = {16: "PQ (SMPTE ST 2084)", 18: "HLG (ARIB STD-B67)"}
"""Transfer functions by FFmpeg's numbers, that 8 bits in sRGB hold only after a choice."""

_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}

_HEARD_IN_MP4 = ("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus")
"""Codecs of sound that MP4 files hold."""

_SHORT = Fraction(1, 10)
"""A file that ends before this share of what it declares is missing was not cut short."""

_log = logging.getLogger(__name__)


def pyav() -> Any:
    """The module `av`.

    Raises:
        ConfigError: the extra that has it is not installed.
    """
    require_extra("a clip", "video", "av")
    import av

    return av


def container(
    data: bytes, format: str, max_pixels: int, background: str | None, selection: Selection
) -> Clip:
    """Decode a file of a format that FFmpeg names `mov` or `matroska`; see `decode.decode_clip`."""
    av = pyav()
    if format == "mov":
        refuse_fabricated(data)
    try:
        with av.open(io.BytesIO(data), format=format, metadata_errors="ignore") as opened:
            stream = _video(opened, max_pixels, selection)
            frames = _Frames(opened, stream, max_pixels, background)
            shown = selection.of(frames)
            sound = Sound(data, format) if selection.all and _is_heard(opened) else None
            aspect = stream.sample_aspect_ratio or Fraction(1)
    except DefectError:
        raise
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise DefectError("unreadable_clip", f"the clip cannot be decoded: {said(error)}") from None
    sideways = frames.turn in (90, 270)
    return clip_of(shown, 1 / aspect if sideways else aspect, sound)


def said(error: Exception) -> str:
    """What an error of FFmpeg says."""
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
    _refuse_large(*size, max_pixels)
    if selection.all:
        refuse_long(stream.frames, size)
    if (hdr := _HDR.get(int(context.color_trc))) is not None:
        raise DefectError(
            "hdr_clip",
            f"the clip is HDR, {hdr}, which has no one meaning in 8 bits: convert it to SDR first",
        )
    stream.thread_type = "NONE"  # with any other, whether a frame counts as damaged is a race
    return stream


def _refuse_large(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DefectError(
            "too_many_pixels",
            f"the clip has frames of {width}x{height} pixels, more than max_pixels={max_pixels}",
        )


def _is_heard(opened: InputContainer) -> bool:
    """Whether the file has sound that its copies can have."""
    if not opened.streams.audio:
        return False
    context = opened.streams.audio[0].codec_context
    codec = "an unknown codec" if context is None else context.name
    if codec not in _HEARD_IN_MP4:
        _say_that_sound_is_left_out(codec)
    return codec in _HEARD_IN_MP4


@cache
def _say_that_sound_is_left_out(codec: str) -> None:
    _log.warning("clips lose their sound where it is %s, which MP4 files do not hold", codec)


class _Frames:
    """A stream's frames, after which the file must not have ended before it declares.

    A frame is shown until the next one is; how long the last is shown, it says itself.

    Args:
        opened: the file.
        stream: of it.
        max_pixels: the most pixels that a frame may have.
        background: the colour behind transparent pixels.

    Attributes:
        turn: by how many degrees the frames were turned, counterclockwise.
    """

    def __init__(
        self,
        opened: InputContainer,
        stream: VideoStream,
        max_pixels: int,
        background: str | None,
    ) -> None:
        self._opened, self._stream = opened, stream
        self._max_pixels, self._background = max_pixels, background
        self._reached = Fraction(0)
        self.turn = 0

    def __iter__(self) -> Iterator[Shown]:
        first: Fraction | None = None
        held: Shown | None = None
        for frame in self._decoded():
            if frame.pts is None or frame.time_base is None:
                raise DefectError("unreadable_clip", "the clip does not say when a frame is shown")
            at = frame.pts * frame.time_base
            first = at if first is None else first
            if held is not None:
                yield held._replace(end=at - first)
            lasts = (frame.duration or 0) * frame.time_base
            usual = 1 / Fraction(self._stream.guessed_rate or 25)
            held = Shown(at - first, at - first + (lasts or usual), self._picture(frame))
        if held is not None:
            yield held
        self._refuse_short()

    def _decoded(self) -> Iterator[VideoFrame]:
        for packet in self._opened.demux():
            if packet.pts is not None and packet.time_base is not None:
                end = (packet.pts + (packet.duration or 0)) * packet.time_base
                self._reached = max(self._reached, end)
            if packet.stream is self._stream:
                yield from self._stream.decode(packet)

    def _refuse_short(self) -> None:
        if self._opened.duration is None:
            return
        begin = max(0, self._opened.start_time or 0)
        declared = Fraction(self._opened.duration + begin, 1_000_000)
        if self._reached < declared * (1 - _SHORT):
            raise DefectError(
                "truncated_clip",
                f"the clip is cut short: it ends after {float(self._reached):.2f} of the "
                f"{float(declared):.2f} seconds that it declares",
            )

    def _picture(self, frame: VideoFrame) -> Image.Image:
        if frame.is_corrupt:
            raise DefectError("unreadable_clip", "the clip has a frame that is damaged")
        _refuse_large(frame.width, frame.height, self._max_pixels)
        self.turn = frame.rotation % 360
        return _upright(frame, self.turn, self._background)


def _upright(frame: VideoFrame, turn: int, background: str | None) -> Image.Image:
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
    if turn in _TURNS:
        image = image.transpose(_TURNS[turn])
    elif turn:
        raise DefectError("turned_clip", f"the clip is to be shown turned by {turn} degrees")
    return picture(image, background).shown
