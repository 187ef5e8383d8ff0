"""What a job will do, frozen in OUTPUT/run.json before it does anything."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffaug import storage
from diffaug.edit import Editor
from diffaug.errors import ConfigError
from diffaug.execution import Execution, device_class, versions
from diffaug.judges import Panel, judge_digests, load_panel
from diffaug.manifest import COLUMNS, SCHEMA_VERSION, columns_of
from diffaug.models import Checkpoint, at_revision, checkpoint_of
from diffaug.recipe import Recipe
from diffaug.rng import NOISE_VERSION

__all__ = [
    "ModelId",
    "Run",
    "SourceShard",
    "freeze",
    "plan_run",
    "read_run",
    "refuse_mixing",
    "the_run",
]


_SECRET = re.compile(r"://[^/]*@|https?://[^?]*\?")
"""In a pattern, where elsewhere a `?` stands for a letter."""


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
    columns: dict[str, str] = Field(default_factory=lambda: _types(COLUMNS))
    judges: dict[str, str] = {}
    sources: tuple[SourceShard, ...]

    def editor(self) -> Editor:
        """Load the model, which must be the very one of the plan."""
        return Editor(self.recipe, self.checkpoint(), self.execution)

    def panel(self) -> Panel:
        """Load the judges, which must be the very ones of the plan.

        Raises:
            ConfigError: one is not to be had, or is another one.
        """
        panel = load_panel(self.recipe.judges, self.execution)
        if differ := _other_judges(self, panel.digests):
            raise ConfigError(f"{', '.join(differ)}: a job ends with the judges it began with")
        return panel

    def checkpoint(self) -> Checkpoint:
        """The model at the revision of the plan, wherever the hub's branch has moved since.

        Raises:
            ConfigError: it cannot be had.
        """
        return checkpoint_of(at_revision(self.recipe, self.model.revision))


def plan_run(
    sources: list[str],
    output: str,
    recipe: Recipe,
    *,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    allow_mixed: bool = False,
) -> Run:
    """Plan a job, or the rest of one already begun in `output`; nothing is written.

    Args:
        sources: files, globs, brace ranges or lists, on any fsspec URL.
        output: folder or URL of the output.
        recipe: what to do to each image.
        batch_size: lanes; by default 32, or what the job began with. So for `dtype`, `device`.
        allow_mixed: go on with a job begun on another device class or other major versions.

    Raises:
        ConfigError: a source, the model, the recipe or the output is not what it must be.
    """
    _refuse_secrets([output, *filter(_SECRET.search, sources)])
    urls = storage.expand(sources)
    _refuse_secrets(urls)
    chosen = {"batch_size": batch_size, "dtype": dtype, "device": device}
    begun = read_run(output)
    if begun is None:
        return _new_run(urls, recipe, Execution.choose(batch_size, dtype, device))
    _refuse_changes(begun, recipe, chosen, output)
    if not allow_mixed:
        refuse_mixing(begun, output)
    return begun.model_copy(update={"sources": _with_stems(begun.sources, urls)})


def freeze(run: Run, output: str) -> Run:
    """Write a plan to OUTPUT/run.json, which is then what counts.

    Raises:
        ConfigError: the output cannot be written, or holds another job.
    """
    url = storage.join(output, "run.json")
    try:
        with storage.scratch(output) as folder:
            local = folder / "run.json"
            local.write_text(_as_json(run), encoding="utf-8")
            if storage.create(local, url):
                return run
        begun = read_run(output)
        if begun is None:
            raise ConfigError(
                f"{storage.public_url(url)} came and went: is another job deleting it?"
            )
        _refuse_changes(begun, run.recipe, {}, output)
        grown = begun.model_copy(
            update={"sources": _with_stems(begun.sources, [shard.url for shard in run.sources])}
        )
        if grown != begun:
            storage.remove(storage.join(output, "shards.txt"))  # the job is no longer complete
            storage.replace(_as_json(grown).encode(), url)
        return grown
    except OSError as error:
        raise ConfigError(
            f"cannot write to {storage.public_url(output)}: {error.strerror or error}: choose an "
            "OUTPUT that can be written"
        ) from error


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


def _new_run(urls: list[str], recipe: Recipe, execution: Execution) -> Run:
    checkpoint = checkpoint_of(recipe)
    editor = Editor(recipe, checkpoint, execution)
    return Run(
        recipe=recipe,
        recipe_digest=editor.recipe_digest,
        model=ModelId(name=recipe.model, revision=checkpoint.revision, digest=checkpoint.digest),
        noise=NOISE_VERSION,
        execution=execution,
        device_class=device_class(execution.device),
        versions=versions(),
        columns=_types(columns_of(recipe.judge_names)),
        judges=load_panel(recipe.judges, execution).digests,
        sources=_with_stems((), urls),
    )


def _types(columns: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {name: kind for name, (kind, _) in columns.items()}


def _other_judges(run: Run, digests: dict[str, str]) -> list[str]:
    """Which judges of a job are not those of its plan, in words."""
    return [
        f"the judge {judge} ({run.judges.get(name, 'none')[:8]} there, {digests[name][:8]} here)"
        for name, judge in zip(run.recipe.judge_names, run.recipe.judges, strict=True)
        if digests[name] != run.judges.get(name)
    ]


def _as_json(run: Run) -> str:
    return run.model_dump_json(indent=1) + "\n"


def _with_stems(known: tuple[SourceShard, ...], urls: list[str]) -> tuple[SourceShard, ...]:
    """`known`, then the new URLs, each with a stem of its own whatever order they come in."""
    taken = {shard.stem for shard in known}
    old = {shard.url for shard in known}
    new = [url for url in urls if url not in old]
    times = Counter(_stem(url) for url in new)
    added = []
    for url in new:
        stem = _stem(url)
        if times[stem] > 1 or stem in taken:
            stem = f"{stem}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
        added.append(SourceShard(url=url, stem=stem))
    return known + tuple(added)


def _stem(url: str) -> str:
    base = posixpath.basename(url.rstrip("/"))
    for ending in (".gz", ".tgz", ".tar"):
        base = base.removesuffix(ending)
    return base.lstrip("._") or "shard"  # readers pass over names that begin so


def _refuse_secrets(urls: list[str]) -> None:
    for url in urls:
        if storage.public_url(url) != url:
            raise ConfigError(
                f"{storage.public_url(url)}: the URL of a source or an output may hold no password "
                "and no query, since it is recorded: give credentials by environment or "
                "configuration file"
            )


def _refuse_changes(begun: Run, recipe: Recipe, chosen: dict[str, Any], output: str) -> None:
    was = begun.recipe.model_dump() | begun.execution.model_dump()
    recipe = _as_named(recipe, begun)
    asked = recipe.model_dump() | {key: value for key, value in chosen.items() if value is not None}
    differ = [
        f"{field} ({_show(was[field])} there, {_show(value)} asked)"
        for field, value in asked.items()
        if was[field] != value
    ]
    if begun.columns != _types(columns_of(begun.recipe.judge_names)):
        differ.append("columns (its manifest has others than this diffaug writes)")
    digest = begun.checkpoint().digest
    if not differ and digest != begun.model.digest:
        differ = [
            f"the weights of {recipe.model} ({begun.model.digest[:8]} there, {digest[:8]} here)"
        ]
    differ = differ or _other_judges(begun, judge_digests(begun.recipe.judges))
    if differ:
        raise ConfigError(
            f"{storage.public_url(output)} was begun with another recipe: {', '.join(differ)}. "
            "Choose a new OUTPUT"
        )


def _as_named(recipe: Recipe, begun: Run) -> Recipe:
    """The recipe with its model named as the plan names it, where it is the same commit."""
    if recipe.model == at_revision(begun.recipe, begun.model.revision).model:
        return recipe.model_copy(update={"model": begun.recipe.model})
    return recipe


def _show(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def refuse_mixing(begun: Run, output: str) -> None:
    """Check that this machine is of the kind a job began on.

    Raises:
        ConfigError: its device class or a major version is another.
    """
    here = {"device class": device_class(begun.execution.device)} | _majors(versions())
    there = {"device class": begun.device_class} | _majors(begun.versions)
    differ = [
        f"{name} ({there[name]} there, {here[name]} here)"
        for name in there
        if name in here and there[name] != here[name]
    ]
    if differ:
        raise ConfigError(
            f"{storage.public_url(output)} was begun elsewhere: {', '.join(differ)}. Images made "
            "here could differ in their last bits; --allow-mixed goes on and records it"
        )


def _majors(found: dict[str, str]) -> dict[str, str]:
    """What of each version must agree: the first number, or the first two while it is 0."""
    majors = {}
    for name, version in found.items():
        parts = version.split(".")
        majors[name] = ".".join(parts[:2] if parts[0] == "0" else parts[:1])
    return majors
