"""One planned copy of a source, from its plan to its row, and the end of its shard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffaug.editor import Draft, Finish, Source
from diffaug.errors import DefectError
from diffaug.job.rows import draft_row, failed_row
from diffaug.judges import Candidate
from diffaug.manifest.part import Row
from diffaug.output.run import SourceShard
from diffaug.pictures.medium import Value
from diffaug.storage import Fingerprint

__all__ = ["Copy", "Item", "ShardEnd"]


@dataclass(slots=True, eq=False)
class Copy:
    """A planned row on its way: planned, made, judged, and written.

    Attributes:
        shard: the source shard it belongs to.
        row: the columns known so far.
        source: the picture it is made of; None where that could not be read.
        finish: how the lanes' result becomes a picture; None where there is nothing to make.
        image: what came out; None before that, and where it failed.
    """

    shard: SourceShard
    row: Row
    source: Source | None = None
    finish: Finish | None = None
    image: Value | None = None

    @classmethod
    def planned(
        cls, shard: SourceShard, row: Row, source: Source, copy: int, draft: Draft | DefectError
    ) -> Copy:
        """A copy as the editor plans it; with a defect it has failed already."""
        if isinstance(draft, DefectError):
            return cls.failed(shard, row, draft, copy, source)
        return cls(shard, row | draft_row(draft), source, draft.finish)

    @classmethod
    def failed(
        cls,
        shard: SourceShard,
        row: Row,
        defect: DefectError,
        copy: int | None,
        source: Source | None = None,
    ) -> Copy:
        """A copy that cannot be made; `copy` is None for a defect of the shard itself."""
        return cls(shard, row | failed_row(defect, copy), source)

    @property
    def origin(self) -> object:
        """An object that it shares with the other copies of its source, and with nothing else."""
        return self if self.source is None else self.source

    def make(self, x_0: NDArray[np.float32] | None) -> None:
        """Take in the lanes' result, if the copy went through them."""
        if self.finish is None:
            return
        assert x_0 is not None
        try:
            self.image = self.finish.picture(x_0)
        except DefectError as defect:
            self.fail(defect)

    def fail(self, defect: DefectError) -> None:
        """Have no image after all."""
        self.image = None
        self.row |= failed_row(defect, self.row["copy"])

    def candidate(self) -> Candidate:
        """What the judges are given of a copy that has an image."""
        assert self.finish is not None
        assert self.image is not None
        own, given = self.row.get("label"), self.row.get("to_label", self.row.get("label"))
        return Candidate(
            source=self.finish.seen(),
            output=self.finish.shown(self.image),
            label=given,
            label_text=self.row.get("label_text") if given == own else None,
            origin=self.origin,
        )


@dataclass(frozen=True, slots=True, eq=False)
class ShardEnd:
    """After a shard's last copy.

    Attributes:
        shard: the source shard.
        outcome: its fingerprint, or why it was not read to its end.
        passed_over: how many of its keys are no sample (see `Census`).
    """

    shard: SourceShard
    outcome: Fingerprint | OSError
    passed_over: int = 0


Item = Copy | ShardEnd
