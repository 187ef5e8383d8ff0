"""How a rebuilt image compares with its manifest row: equal, near or different."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from diffaug.errors import DefectError, DiffaugError
from diffaug.manifest.part import Row
from diffaug.output.layout import copy_key
from diffaug.pictures.medium import IMAGE, Medium, PictureMedium, Value

__all__ = ["TOLERANCE", "MismatchError", "Replayed", "Verdicts", "judge"]

TOLERANCE = {"float32": 1.0, "bfloat16": 4.0}
"""The largest distance at which a picture rebuilt elsewhere counts as `near` the stored one, by
dtype: root mean square over its pixels, in levels of 255.

Summing in another order changes a float32 result by at most 0.1 and a bfloat16 result by 0.4 to 3,
more at higher strengths (measured with other batch sizes, and without oneDNN's kernels). The
allowance for float32 leaves room for a lossy format. Pictures that share a source but not their
noise are 10 to 36 levels apart (strength 0.1 to 0.4). With few calls from near pure noise, bfloat16
results can differ by as much; they then count as `differs`.
"""

Verdict = Literal["equal", "near", "differs"]


class MismatchError(DiffaugError):
    """The reason why a row cannot be rebuilt as recorded, or not be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One row, and the result of rebuilding its image.

    Attributes:
        row: the manifest row.
        verdict: `equal`, if bytes and pixels are the manifest's and device class and versions are
            those of the row; `near`, if it was made elsewhere and is within TOLERANCE; otherwise
            `differs`.
        reason: for `near` and `differs`, a sentence on what differs; otherwise empty.
        elsewhere: how the row's device class and versions differ from this machine's; empty if
            they do not.
        image: the rebuilt picture; None if it could not be rebuilt.
        data: the bytes of its file; None if it could not be rebuilt.
        format: how that file stores it: an extension; empty if it could not be rebuilt.
    """

    row: Row
    verdict: Verdict
    reason: str = ""
    elsewhere: str = ""
    image: Value | None = None
    data: bytes | None = None
    format: str = ""

    @property
    def name(self) -> str:
        """The name of that file in its tar, or the one it would have if it had been kept."""
        row, kept = self.row, self.row["output_member"]
        return f"{copy_key(row['source_key'], row['copy'])}.{self.format}" if kept is None else kept

    def __str__(self) -> str:
        row = self.row
        place = (row["source_shard"], row["source_key"], "copy", row["copy"])
        name = " ".join(str(part) for part in place if part is not None)
        return f"{name}: {self.reason or self.verdict}"


@dataclass
class Verdicts:
    """Counts of replayed rows; `elsewhere` counts the near ones by how their making differs."""

    equal: int = 0
    near: int = 0
    differs: int = 0
    elsewhere: Counter[str] = field(default_factory=Counter)

    def add(self, replayed: Replayed) -> None:
        """Count one row."""
        setattr(self, replayed.verdict, getattr(self, replayed.verdict) + 1)
        if replayed.verdict == "near":
            self.elsewhere[replayed.elsewhere] += 1

    def __str__(self) -> str:
        total = self.equal + self.near + self.differs
        made = "; ".join(f"{count} made with {what}" for what, count in self.elsewhere.items())
        return (
            f"{total} replayed: {self.equal} equal, {self.near} within tolerance"
            f"{f' but not proven equal ({made})' if made else ''}, {self.differs} differ"
        )


def judge(
    row: Row,
    image: Value,
    data: bytes,
    format: str,
    elsewhere: str,
    stored: Callable[[], bytes],
    medium: Medium[Value] = IMAGE,
) -> Replayed:
    """Compare a rebuilt image with its row.

    Args:
        row: its manifest row.
        image: the rebuilt picture.
        data: the bytes of its file.
        format: how that stores it, as an extension.
        elsewhere: how the row's device class and versions differ from this machine's; empty if
            they do not.
        stored: returns the file that was made then, whose sha256 is the row's, or raises
            MismatchError; called only if a distance has to be measured.
        medium: what kind of sample it is.
    """
    same_bytes = hashlib.sha256(data).hexdigest() == row["output_sha256"]
    same_pixels = medium.digest(image) == row["output_pixel_sha256"]
    verdict: Verdict = "differs"
    if same_bytes and same_pixels:
        verdict = "near" if elsewhere else "equal"
        reason = f"made with {elsewhere}; bytes and pixels are the same" if elsewhere else ""
    elif same_bytes and format not in ("jpg", "webm"):
        reason = "bytes are the same, but output_pixel_sha256 does not match their pixels"
    elif not elsewhere:
        what = "pixels are the same, bytes differ" if same_pixels else "pixels differ"
        reason = f"{what}, though device and versions are the same"
    else:
        try:
            apart = 0.0 if same_pixels else _apart(row, data, stored(), medium)
        except MismatchError as error:
            reason = f"made with {elsewhere}; the result differs, and {error}"
        else:
            tolerance = TOLERANCE[row["dtype"]]
            verdict = "near" if apart <= tolerance else "differs"
            reason = (
                f"made with {elsewhere}; bytes {'are the same' if same_bytes else 'differ'}, "
                f"pixels are {apart:.2g} of 255 levels apart (root mean square), "
                f"{'within' if verdict == 'near' else 'beyond'} the tolerance of {tolerance:g}"
            )
    return Replayed(
        row=row,
        verdict=verdict,
        reason=reason,
        elsewhere=elsewhere,
        image=image,
        data=data,
        format=format,
    )


def _apart(row: Row, data: bytes, stored: bytes, medium: Medium[Value]) -> float:
    """The distance of a stored file from the rebuilt one: root mean square, in levels of 255."""
    if not isinstance(medium, PictureMedium):
        raise MismatchError(f"a {medium.name} has no tolerance")
    limit = row["output_width"] * row["output_height"]
    try:
        there, here = (medium.levels(medium.read_back(file, limit)) for file in (stored, data))
    except DefectError as defect:
        raise MismatchError(f"the stored image cannot be read: {defect.reason}") from None
    if there.shape != here.shape:
        raise MismatchError(f"its size is {here.shape}, not {there.shape}")
    return float(np.sqrt(np.mean((there.astype(np.float64) - here) ** 2)))
