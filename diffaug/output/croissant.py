"""Exporting a description in MLCommons Croissant, for catalogues and other loaders.

The vocabulary is that of https://docs.mlcommons.org/croissant/docs/croissant-spec.html. Its
reference implementation, the package mlcroissant, builds and validates the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from diffaug import storage
from diffaug.errors import ConfigError, require_extra
from diffaug.manifest.columns import columns_of
from diffaug.output.run import Run, the_run
from diffaug.output.summary import Summary, summarise
from diffaug.output.survey import ShardReport, survey
from diffaug.recipe import Recipe
from diffaug.version import __version__

__all__ = ["FILE", "export_croissant"]

FILE = "croissant.json"

_MEDIA = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "apng": "image/apng",
    "webm": "video/webm",
    "txt": "text/plain",
}

_ROWS, _PARTS = "rows", "manifest"

_Field = tuple[str, Any, str, dict[str, str]]
"""A field's name, type, description, and where in a file it comes from."""


def export_croissant(output: str) -> str:
    """Write OUTPUT/croissant.json, and return its URL.

    The document names every tar with its digest. Its record set `rows` is the manifest, and
    `pictures` the images in the tars; of texts it is `results`. Its paths are relative, so it can
    move with OUTPUT.

    Args:
        output: OUTPUT of a finished job.

    Raises:
        ConfigError: it is not the output of a job, some of its shards are not committed yet, or
            mlcroissant is not installed.
        UncommittedError: a part is broken.
        OSError: storage failed.
    """
    require_extra("export --format croissant", "croissant", "mlcroissant")
    run = the_run(output)
    found = survey(run.sources, output)
    if found.missing:
        raise ConfigError(
            f"{len(found.missing)} of {len(run.sources)} shards of {storage.public_url(output)} "
            "are not committed: finish the job, then export it"
        )
    document = _document(run, list(found.committed.values()), summarise(output), _name(output))
    url = storage.join(output, FILE)
    text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
    storage.replace(text.encode() + b"\n", url)
    return url


def _name(output: str) -> str:
    return storage.public_url(output).rstrip("/").rpartition("/")[2] or "augmented"


def _document(run: Run, reports: list[ShardReport], summary: Summary, name: str) -> Any:
    import mlcroissant as mlc

    noun = run.recipe.noun
    tars = [
        mlc.FileObject(
            id=_id(report.output_shard, number),
            name=report.output_shard,
            content_url=report.output_shard,
            content_size=f"{report.output_bytes} B",
            encoding_formats=["application/x-tar"],
            sha256=report.output_sha256,
        )
        for number, report in enumerate(reports)
        if report.output_shard is not None
    ]
    parts = mlc.FileSet(
        id=_PARTS,
        name=_PARTS,
        description=f"The manifest: one Parquet file a source shard, one row a planned {noun}.",
        encoding_formats=["application/x-parquet"],
        includes=[f"{_PARTS}/*.parquet"],
    )
    formats = dict.fromkeys(run.recipe.format_for(jpeg) for jpeg in (False, True))
    images = mlc.FileSet(
        id=f"{noun}s",
        name=f"{noun}s",
        description=f"Synthetic {noun}s: variations of source {noun}s made by a diffusion model.",
        contained_in=[tar.id for tar in tars],
        encoding_formats=[_MEDIA[format] for format in formats],
        includes=[f"*.{format}" for format in formats],
    )
    return mlc.Metadata(
        name=name,
        description=_description(summary, run.recipe),
        keywords=[f"synthetic {noun}s", "diffusion", "data augmentation", "webdataset"],
        version="1.0.0",
        date_published=datetime.fromisoformat(max(report.started_at for report in reports)),
        data_collection=f"Made by diffaug from the {noun}s of the source shards.",
        data_collection_type=["Synthetic data"],
        data_collection_raw_data=", ".join(sorted({report.source for report in reports})),
        data_preprocessing_protocol=[_protocol(run)],
        distribution=[*tars, parts, *([images] if tars else [])],
        record_sets=[_rows(mlc, run), *([_results(mlc, run.recipe)] if tars else [])],
    ).to_json()


def _id(name: str, number: int) -> str:
    """A tar's name, or its place if the name holds what mlcroissant takes in no identifier."""
    return name if re.fullmatch(r"[\w./-]+", name, re.ASCII) else f"tar-{number}"


def _description(summary: Summary, recipe: Recipe) -> str:
    noun, made = recipe.noun, "noised part-way by a diffusion process and reconstructed"
    if recipe.medium == "text":
        made = "some of whose words were hidden and predicted back by a language model"
    return (
        f"Synthetic {noun}s: each is a variation of a real one, {made}. Of {summary.planned} "
        f"planned {noun}s {summary.ok} are ok, {summary.filtered} were rejected by a filter and "
        f"{summary.failed} failed. The record set `rows` records for each its source, how it was "
        f"made and the result. The {noun}s and their licence derive from the source's."
    )


def _protocol(run: Run) -> str:
    model = f"{run.model.name} (weights of digest {run.model.digest})"
    return (
        f"diffaug {__version__}, model {model}, recipe {run.recipe_digest}: "
        f"{run.recipe.model_dump_json()}. Any {run.recipe.noun} can be regenerated from its row "
        "with diffaug replay."
    )


def _rows(mlc: Any, run: Run) -> Any:
    """The manifest's columns as fields."""
    kinds = {"string": mlc.DataType.TEXT, "double": mlc.DataType.FLOAT, "float": mlc.DataType.FLOAT}
    fields = [
        (name, kinds.get(kind, mlc.DataType.INTEGER), what, {"column": name})
        for name, (kind, what) in columns_of(run.recipe.adds_columns).items()
    ]
    what = f"One row for every planned {run.recipe.noun}, whatever its outcome."
    return _record_set(mlc, _ROWS, what, _PARTS, fields)


def _results(mlc: Any, recipe: Recipe) -> Any:
    noun, is_text = recipe.noun, recipe.medium == "text"
    kind = mlc.DataType.TEXT if is_text else mlc.DataType.IMAGE_OBJECT
    named, seen = {"file_property": "filename"}, {"file_property": "content"}
    fields = [
        ("filename", mlc.DataType.TEXT, "The member's name: `output_member` of its row.", named),
        ("content", kind, f"The synthetic {noun}.", seen),
    ]
    what = f"The synthetic {noun}s that are ok, by their names in the tars."
    return _record_set(mlc, "results" if is_text else "pictures", what, f"{noun}s", fields)


def _record_set(mlc: Any, name: str, what: str, files: str, fields: Iterable[_Field]) -> Any:
    return mlc.RecordSet(
        id=name,
        name=name,
        description=what,
        fields=[
            mlc.Field(
                id=f"{name}/{field}",
                name=field,
                description=text,
                data_types=[kind],
                source=mlc.Source(file_set=files, extract=mlc.Extract(**extract)),
            )
            for field, kind, text, extract in fields
        ],
    )
