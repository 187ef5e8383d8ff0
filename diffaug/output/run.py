"""OUTPUT/run.json, which holds everything frozen about a job."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.manifest.part import SCHEMA_VERSION, columns_of
from diffaug.output.layout import Output
from diffaug.recipe import Recipe

__all__ = ["ModelId", "Run", "SourceShard", "column_types", "read_run", "the_run"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class SourceShard(_Frozen):
    """One source shard: its URL, and the stem that names its output and its manifest part."""

    url: str
    stem: str


class ModelId(_Frozen):
    """A model's identity: the recipe's name for it, the hub's commit if any, and its digest."""

    name: str
    revision: str | None
    digest: str


class Run(_Frozen):
    """OUTPUT/run.json: everything frozen about a job. Only `sources` may grow.

    `columns` are the manifest's, with their Arrow types; they stay the same throughout a job.
    `judges` identifies each judge of the recipe, by its name (see `judge_digests`).
    `class_counts` says how many images each class had when the job was planned, if the recipe
    goes by that (see `Recipe.counts_classes`); otherwise it is not written.
    """

    schema_version: int = Field(1, ge=1, le=SCHEMA_VERSION)
    recipe: Annotated[Recipe, BeforeValidator(Recipe.recorded)]
    recipe_digest: str
    model: ModelId
    noise: str
    execution: Execution
    device_class: str
    versions: dict[str, str]
    columns: dict[str, str]
    judges: dict[str, str]
    sources: tuple[SourceShard, ...]
    class_counts: dict[int, int] | None = Field(None, exclude_if=lambda counts: counts is None)


def column_types(recipe: Recipe) -> dict[str, str]:
    """The manifest's columns in a job of this recipe, with their Arrow types."""
    return {name: kind for name, (kind, _) in columns_of(recipe.adds_columns).items()}


def read_run(output: str) -> Run | None:
    """The run.json of an output; None if there is none.

    Raises:
        ConfigError: this version of diffaug cannot read it.
    """
    url = Output(output).run_json
    try:
        text = storage.read_bytes(url)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {storage.public_url(url)}: {error}") from error
    try:
        return Run.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(
            f"{storage.public_url(url)} is not a run.json this diffaug reads "
            f"({error.error_count()} fields differ): use the version that wrote it, or choose "
            "a new OUTPUT"
        ) from None


def the_run(output: str) -> Run:
    """The run.json of an output that must have one.

    Raises:
        ConfigError: there is none, or this version of diffaug cannot read it.
    """
    run = read_run(output)
    if run is None:
        raise Output(output).not_an_output()
    return run
