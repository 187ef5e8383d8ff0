"""OUTPUT/run.json: everything frozen about a job."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffaug import storage
from diffaug.edit import Editor
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.judges import Panel, load_panel
from diffaug.manifest import SCHEMA_VERSION, columns_of
from diffaug.models import Checkpoint, at_revision, checkpoint_of
from diffaug.recipe import Recipe

__all__ = ["ModelId", "Run", "SourceShard", "column_types", "read_run", "the_run"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class SourceShard(_Frozen):
    """One source shard: where it lies, and the name its output and manifest part go by."""

    url: str
    stem: str


class ModelId(_Frozen):
    """Which model: as the recipe names it, the hub's commit if any, and the weights' digest."""

    name: str
    revision: str | None
    digest: str


class Run(_Frozen):
    """OUTPUT/run.json: everything frozen about a job. Only `sources` may grow.

    `columns` are the manifest's, with their Arrow types: a job ends with those it began with.
    `judges` says what each judge of the recipe is, by its name (see `judge_digests`).
    """

    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    recipe: Recipe
    recipe_digest: str
    model: ModelId
    noise: str
    execution: Execution
    device_class: str
    versions: dict[str, str]
    columns: dict[str, str] = Field(default_factory=lambda: column_types(()))
    judges: dict[str, str] = {}
    sources: tuple[SourceShard, ...]

    def editor(self) -> Editor:
        """Load the model, which must be the very one of the plan.

        Raises:
            ConfigError: it is not to be had, or is another one; or the plan's device is not here.
        """
        Execution.choose(**self.execution.model_dump())  # refuses a device that is not here
        editor = Editor(self.recipe, self.checkpoint(), self.execution)
        if editor.recipe_digest != self.recipe_digest:
            raise ConfigError(f"the weights of {self.recipe.model} here are not those of the plan")
        return editor

    def panel(self) -> Panel:
        """Load the judges, which must be the very ones of the plan.

        Raises:
            ConfigError: one is not to be had, or is another one.
        """
        panel = load_panel(self.recipe.judges, self.execution)
        if differ := self.other_judges(panel.digests):
            raise ConfigError(f"{', '.join(differ)}: a job ends with the judges it began with")
        return panel

    def checkpoint(self) -> Checkpoint:
        """The model at the revision of the plan, wherever the hub's branch has moved since.

        Raises:
            ConfigError: it cannot be had.
        """
        return checkpoint_of(at_revision(self.recipe, self.model.revision))

    def other_judges(self, digests: dict[str, str]) -> list[str]:
        """Which judges are not those of the plan, in words; `digests` are by their names."""
        return [
            f"the judge {judge} ({self.judges.get(name, 'none')[:8]} there, "
            f"{digests[name][:8]} here)"
            for name, judge in zip(self.recipe.judge_names, self.recipe.judges, strict=True)
            if digests[name] != self.judges.get(name)
        ]


def column_types(judges: tuple[str, ...]) -> dict[str, str]:
    """The manifest's columns in a job that has these judges, with their Arrow types."""
    return {name: kind for name, (kind, _) in columns_of(judges).items()}


def read_run(output: str) -> Run | None:
    """The run.json of an output; None where there is none.

    Raises:
        ConfigError: it is there, but is not one of this diffaug's.
    """
    url = storage.join(output, "run.json")
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
            f"({error.error_count()} fields differ): take the version that wrote it, or choose a "
            "new OUTPUT"
        ) from None


def the_run(output: str) -> Run:
    """The run.json of what must be the output of a job.

    Raises:
        ConfigError: there is none, or it is not one of this diffaug's.
    """
    run = read_run(output)
    if run is None:
        raise ConfigError(
            f"{storage.public_url(output)} is no output of diffaug: it has no run.json"
        )
    return run
