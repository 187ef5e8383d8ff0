"""What a training leaves: OUTPUT/trials/seed-<seed>/<labels>-<arm>.json."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from diffaug import storage
from diffaug.evaluation.arms import Arm

__all__ = ["Score", "Trial", "read_trial", "read_trials", "write_trial"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Score(_Record):
    """How many of some images a classifier named rightly.

    Attributes:
        split: `test` or `validation`.
        corruption: `clean`, or what the images were corrupted by.
        severity: from 1 to 5; 0 for clean ones.
        right: how many.
        images: of how many.
    """

    split: str
    corruption: str
    severity: int
    right: int
    images: int


class Trial(_Record):
    """One training, and what it scored.

    Attributes:
        arm: which way to train.
        labels: labelled images a class.
        seed: which draw of them, and of everything else.
        copies: how many augmented images there were to draw from, labelled ones standing in where
            none was left; None where they are unlimited.
        psnr: their mean distance to their images, in dB.
        like: of a matched control, the arm that it is matched to.
        like_psnr: the mean distance of that one's.
        steps: how long it was trained.
        seconds: how long that took.
        scores: one for each split, corruption and severity.
    """

    arm: Arm
    labels: int
    seed: int
    copies: int | None
    psnr: float | None
    like: str | None
    like_psnr: float | None
    steps: int
    seconds: float
    scores: tuple[Score, ...]


def read_trial(output: str, arm: Arm, labels: int, seed: int) -> Trial | None:
    """A trial that was done; None where it was not."""
    path = Path(_url(output, arm, labels, seed))
    return Trial.model_validate_json(path.read_bytes()) if path.is_file() else None


def read_trials(output: str, arms: Iterable[Arm], labels: int, seeds: Iterable[int]) -> list[Trial]:
    """Those that were done, of one budget."""
    found = [read_trial(output, arm, labels, seed) for seed in seeds for arm in arms]
    return [trial for trial in found if trial is not None]


def write_trial(trial: Trial, output: str) -> None:
    """Keep a trial."""
    url = _url(output, trial.arm, trial.labels, trial.seed)
    storage.replace(trial.model_dump_json(indent=1).encode(), url)


def _url(output: str, arm: Arm, labels: int, seed: int) -> str:
    name = arm.name.replace(" ", "-")
    return storage.join(output, "trials", f"seed-{seed}", f"{labels}-{name}.json")
