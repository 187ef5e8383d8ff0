"""OUTPUT/data.json: what the sources of an evaluation hold."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from diffaug import storage
from diffaug.output.evaluation import EvaluationOutput

__all__ = ["Found", "read_found", "read_found_if_any", "write_found"]


class Found(BaseModel):
    """What the sources hold.

    Attributes:
        mode: mode of all images: L or RGB; or text.
        labelled: images per seed, at the largest budget.
        validation: images per seed.
        test: images.
        left_out: number of samples of source, validation source and test that cannot be used.
        why: the reason, one sentence for each of the first of them.
        shared: mean share of its labelled images that a seed has in common with another.
        labelled_in_test: labelled images that are also test images, pixel for pixel.
        validation_in_test: validation images that are also test images.
        labelled_in_validation: labelled images that are also validation images of the same seed.
    """

    model_config = ConfigDict(frozen=True)

    mode: str
    labelled: int
    validation: int
    test: int
    left_out: int
    why: tuple[str, ...]
    shared: float
    labelled_in_test: int
    validation_in_test: int
    labelled_in_validation: int


def write_found(found: Found, output: str) -> None:
    """Write OUTPUT/data.json."""
    storage.replace(found.model_dump_json(indent=1).encode(), EvaluationOutput(output).data_json)


def read_found(output: str) -> Found:
    """What `prepare` found in the sources.

    Raises:
        FileNotFoundError: the images are not in place yet.
    """
    return Found.model_validate_json(storage.read_bytes(EvaluationOutput(output).data_json))


def read_found_if_any(output: str) -> Found | None:
    """What `prepare` found in the sources; None until the images are in place."""
    try:
        return read_found(output)
    except FileNotFoundError:
        return None
