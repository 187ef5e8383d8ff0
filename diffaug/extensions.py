"""The extensions of image files and of clips, lower-case and without the dot."""

from __future__ import annotations

__all__ = [
    "ANIMATED",
    "CLIPS",
    "FIRST",
    "MADE",
    "MADE_CLIPS",
    "MEDIA_TYPES",
    "READ",
    "TEXTS",
    "USUAL",
    "is_picture",
    "is_read",
]

FIRST = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")
"""Those that version 0.1.0 read by default, by preference."""

USUAL = (*FIRST, "avif", "jp2")
"""What images are called in shards: each format under the name that readers know."""

READ = (
    *USUAL,
    *("apng", "jpe", "jfif", "mpo", "dib", "pbm", "pnm", "pfm", "avifs"),
    *("j2k", "j2c", "jpc", "jpf", "jpx"),
)
"""Every extension of the formats that the codec reads, by preference as members of a sample."""

CLIPS = ("mp4", "webm", "mkv")
"""Those of clips in any job."""

ANIMATED = (*CLIPS, "gif", "apng", "webp", "npy", "npz")
"""Those of clips where the medium is told to be that, by preference as members of a sample."""

TEXTS = ("txt",)
"""Those of texts."""

MADE = ("png", "jpg", "webp")
"""Those of results that are images."""

MADE_CLIPS = ("mp4", "apng", "webm")
"""Those of results that are clips."""

MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "apng": "image/apng",
    "mp4": "video/mp4",
    "webm": "video/webm",
}
"""Of results, over HTTP."""

_NOT_READ = {
    *("heic", "heif", "hif", "jxl", "jxr", "svg", "psd", "tga", "exr", "hdr", "ico", "pcx"),
    *("dng", "cr2", "cr3", "nef", "arw", "orf", "raf", "rw2", "dcm", "npy"),
}
"""Extensions of pictures in formats that the codec does not read."""


def is_read(extension: str) -> bool:
    """Whether the codec reads a file, by what follows the last dot of its name."""
    return extension.rpartition(".")[2] in READ


def is_picture(extension: str) -> bool:
    """Whether a file is a picture, in any format, by what follows the last dot of its name."""
    return is_read(extension) or extension.rpartition(".")[2] in _NOT_READ
