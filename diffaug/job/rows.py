"""Manifest rows: the columns of a copy, from its run and its source to its image.

The groups of columns that the docstrings name (`from`, `out`, …) are those of manifest/columns.py.
The status `failed` is set here; `ok` by commit.py, once the image is in its tar; `filtered` by
recipe/filters.py.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

from diffaug.editor import Draft, Source
from diffaug.errors import DefectError
from diffaug.execution import device_class, versions
from diffaug.manifest.part import Row
from diffaug.output.run import Run
from diffaug.pictures.medium import Medium, Value
from diffaug.shards.reading import Reading
from diffaug.shards.stream import Sample

__all__ = [
    "Place",
    "draft_row",
    "failed_row",
    "finite",
    "lineage",
    "output_row",
    "run_row",
    "size_row",
    "source_row",
]

_LINEAGE_COLUMNS = (
    "sample_id",
    "copy",
    "source_key",
    "source_sha256",
    "label",
    "label_text",
    "to_label",
    "model",
    "model_revision",
    "model_digest",
    "recipe_digest",
    "sampler",
    "strength",
    "t_start",
    "log_snr",
    "steps",
    "calls",
    "guidance",
    "condition",
    "prompt",
    "seed",
    "batch_size",
    "dtype",
    "device",
    "diffaug_version",
)


def run_row(run: Run) -> Row:
    """The columns that all rows of a run share; device and versions are this process's."""
    found = versions()
    medium: dict[str | None, Row] = {
        "clip": {"medium": "clip", "noise_time": run.recipe.noise_time},
        "text": {"medium": "text"},
    }
    return {
        "model": run.model.name,
        "model_revision": run.model.revision,
        "model_digest": run.model.digest,
        "recipe_digest": run.recipe_digest,
        "sampler": run.recipe.sampler,
        "steps": run.recipe.steps,
        "guidance": None if run.recipe.guidance == 1 else run.recipe.guidance,
        "condition": run.recipe.condition,
        "seed": run.recipe.seed,
        "batch_size": run.execution.batch_size,
        "dtype": run.execution.dtype,
        "device": device_class(run.execution.device),
        "diffaug_version": found["diffaug"],
        "torch_version": found["torch"],
        "diffusers_version": found["diffusers"],
        "pillow_version": found["pillow"],
    } | medium.get(run.recipe.medium, {})


def source_row(sample: Sample, url: str, reading: Reading) -> Row:
    """The `from` columns of a sample, as far as its members give them without being decoded."""
    row: Row = {"source_shard": url, "source_key": sample.key, "source_offset": sample.offset}
    if (image := reading.image_member(sample)) is not None:
        row |= {
            "source_member": image.name,
            "source_offset": image.offset,
            "source_sha256": hashlib.sha256(image.data).hexdigest(),
        }
    label = reading.label(sample)
    return row | {"label": label.number, "label_text": label.text}


def size_row(source: Source, medium: Medium[Value]) -> Row:
    """The `from` columns that decoding adds."""
    return medium.source_facts(source.image)


def draft_row(draft: Draft) -> Row:
    """The columns that are known once a copy is planned."""
    return {
        "sample_id": draft.sample_id,
        "copy": draft.copy,
        "strength": draft.strength,
        "t_start": draft.t_start,
        "log_snr": draft.log_snr,
        "calls": draft.calls,
        "prompt": draft.prompt,
    } | ({} if draft.to_label is None else {"to_label": draft.to_label})


def failed_row(defect: DefectError, copy: int | None) -> Row:
    """The columns that a copy's failure adds; the copy is None for a defect of the shard itself."""
    reason = {"reason": defect.reason, "reason_code": defect.code}
    return {"copy": copy, "status": "failed", **reason}


def output_row(image: Value, data: bytes, place: Place | None, medium: Medium[Value]) -> Row:
    """The `out` columns of an image, except the tar, whose name is not known until it is whole.

    Args:
        image: what came out.
        data: its file's bytes.
        place: where they are; None where they were not kept.
        medium: what kind of sample it is.
    """
    return {
        "output_key": place and place.key,
        "output_member": place and place.member,
        "output_offset": place and place.offset,
        "output_sha256": hashlib.sha256(data).hexdigest(),
        "output_pixel_sha256": medium.digest(image),
        **medium.output_facts(image),
        "output_bytes": len(data),
    }


def finite(row: Row) -> Row:
    """A row as JSON can hold it: no infinity, which the log SNR of pure noise is."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image is in its tar: key of its sample, name of its member, where that begins."""

    key: str
    member: str
    offset: int


def lineage(row: Row) -> bytes:
    """The short lineage stored next to an image, as JSON; it names no shard."""
    short = {name: row[name] for name in _LINEAGE_COLUMNS if row.get(name) is not None}
    if not math.isfinite(short.get("log_snr", 0.0)):
        del short["log_snr"]  # an image taken to pure noise: JSON has no infinity
    return json.dumps(short, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
