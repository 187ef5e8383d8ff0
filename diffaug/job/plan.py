"""Planning a job, and freezing the plan in OUTPUT/run.json before anything is done."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from diffaug import storage
from diffaug.diffusion.noise import NOISE_VERSION
from diffaug.editor import Editor, editor_of
from diffaug.errors import ConfigError
from diffaug.execution import Execution, device_class, versions
from diffaug.job.balance import Shown, count_classes
from diffaug.job.binding import Binding, different_judges
from diffaug.job.decided import with_medium
from diffaug.job.look import look_at_classes, look_at_pictures
from diffaug.job.shape import lanes_for
from diffaug.job.sources import new_sources, without_copies
from diffaug.judges import judge_digests, load_fluency_judge, load_panel
from diffaug.manifest.part import version_of
from diffaug.models import Checkpoint, at_revision, checkpoint_of, placed, with_suggestions
from diffaug.output.layout import Output
from diffaug.output.run import ModelId, Run, SourceShard, column_types, read_run
from diffaug.output.sources import source_shards
from diffaug.recipe import Recipe
from diffaug.shards.reading import Reading

__all__ = ["freeze", "plan_run", "refuse_mixing", "run_of"]

_SECRET = re.compile(r"://[^/]*@|https?://[^?]*\?")
"""Credentials in a pattern, in which a `?` elsewhere matches any letter."""

_ODD = re.compile(r"[^A-Za-z0-9._-]")
"""What a stem has not: readers take `#`, `?` or `:` in a path for parts of a URL."""

_LONGEST = 255 - len("-01234567.tar")
"""Letters of a stem, so that file systems take the names that hold it."""


def plan_run(
    sources: str | list[str],
    output: str,
    recipe: Recipe | Mapping[str, Any],
    *,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    allow_mixed: bool = False,
    classes_as_numbered: bool = False,
    counting: Shown | None = None,
) -> Run:
    """Plan a job, or the rest of one that `output` already holds; nothing is written.

    A source is new whichever way it is spelled, unless it is a moved or copied shard that is
    already done.

    Args:
        sources: files, globs, brace ranges or lists, on any fsspec URL.
        output: folder or URL of the output.
        recipe: what to do to each image, or a dict of its fields.
        batch_size: lanes; by default those the job began with or, of a new job, 32, and 4 where
            there are few images (see `shape.lanes_for`). Likewise `dtype`, `device`.
        allow_mixed: go on with a job begun on another device class or other major versions.
        classes_as_numbered: the numbers of the sources' classes are the model's, whatever names
            they have (see `look`).
        counting: shows how far the counting of classes is, where the recipe goes by that.

    Raises:
        ConfigError: a source, the model, the recipe or the output is not what it must be; or its
            results would be ruined (see `look`).
        UncommittedError: a part of the manifest that a source may have is broken.
        OSError: storage failed.
    """
    recipe = Recipe.taken(recipe)
    storage.refuse_root(output)
    sources = [sources] if isinstance(sources, str) else sources
    _refuse_secrets([output, *filter(_SECRET.search, sources)])
    begun = read_run(output)
    planned = [shard.url for shard in begun.sources] if begun else []
    urls = source_shards(sources, output, planned=planned)
    _refuse_secrets(urls)
    _refuse_undecodable([output, *urls])
    recipe = placed(recipe)
    chosen = {"batch_size": batch_size, "dtype": dtype, "device": device}
    if begun is None:
        recipe = with_medium(recipe, urls[0])
        lanes = lanes_for(urls, recipe) if batch_size is None else batch_size
        execution = Execution.choose(lanes, dtype, device)
        run = _new_run(urls, recipe, execution, classes_as_numbered)
        if not recipe.counts_classes:
            return run
        counts = count_classes(urls, Reading.of(recipe), counting)
        return run.model_copy(update={"class_counts": counts})
    _refuse_changes(begun, recipe, chosen, output)
    if not allow_mixed:
        refuse_mixing(begun, output)
    urls = without_copies(begun.sources, urls, output)
    return begun.model_copy(update={"sources": _with_stems(begun.sources, urls)})


def freeze(run: Run, output: str, *, allow_mixed: bool = False) -> Run:
    """Write a plan to OUTPUT/run.json, unless one is there, and return what then is there.

    Args:
        run: the plan.
        output: its OUTPUT.
        allow_mixed: go on with a plan that another device class or other major versions froze.

    Raises:
        ConfigError: the output cannot be written, or holds another job, or one that was begun
            elsewhere.
    """
    url = Output(output).run_json
    try:
        with storage.scratch(output) as folder:
            local = folder / "run.json"
            local.write_text(_as_json(run), encoding="utf-8")
            if storage.create(local, url):
                return run
        begun = read_run(output)
        if begun is None:
            raise ConfigError(
                f"{storage.public_url(url)} was there and is gone: is another job deleting it?"
            )
        _refuse_changes(begun, run.recipe, {}, output)
        if not allow_mixed:  # as planned, if that was before the other plan was frozen
            _refuse_unlike(begun, run.device_class, run.versions, output)
        grown = begun.model_copy(
            update={"sources": _with_stems(begun.sources, [shard.url for shard in run.sources])}
        )
        if grown != begun:
            storage.remove(Output(output).shards_txt)  # the job is no longer complete
            storage.replace(_as_json(grown).encode(), url)
        return grown
    except OSError as error:
        raise ConfigError(
            f"cannot write to {storage.public_url(output)}: {error.strerror or error}: choose an "
            "OUTPUT that can be written"
        ) from error


def _new_run(urls: list[str], asked: Recipe, execution: Execution, as_numbered: bool) -> Run:
    checkpoint = checkpoint_of(asked)
    recipe = with_suggestions(asked, checkpoint)
    editor = editor_of(recipe, checkpoint, execution)
    look_at_pictures(urls[0], editor, asked)
    if not as_numbered:
        look_at_classes(urls[0], checkpoint.card, recipe)
    panel = load_panel(
        recipe.judges,
        execution,
        editor.medium,
        lambda: load_fluency_judge(recipe, checkpoint, execution),
    )
    return run_of(editor, checkpoint, panel.digests, _with_stems((), urls))


def run_of(
    editor: Editor,
    checkpoint: Checkpoint,
    judges: Mapping[str, str] = MappingProxyType({}),
    sources: tuple[SourceShard, ...] = (),
) -> Run:
    """Everything frozen about what an editor makes in this process.

    Args:
        editor: the recipe, bound to the model.
        checkpoint: the model.
        judges: the digests of the judges, by their names.
        sources: the shards; none where pictures come otherwise.
    """
    recipe, execution = editor.recipe, editor.execution
    return Run(
        schema_version=version_of(recipe.adds_columns),
        recipe=recipe,
        recipe_digest=editor.recipe_digest,
        model=ModelId(name=recipe.model, revision=checkpoint.revision, digest=checkpoint.digest),
        noise=NOISE_VERSION,
        execution=execution,
        device_class=device_class(execution.device),
        versions=versions(recipe.medium),
        columns=column_types(recipe),
        judges=dict(judges),
        sources=sources,
    )


def _as_json(run: Run) -> str:
    return run.model_dump_json(indent=1) + "\n"


def _with_stems(known: tuple[SourceShard, ...], urls: list[str]) -> tuple[SourceShard, ...]:
    """`known`, then the new URLs, each with a unique stem that does not depend on their order."""
    taken = {shard.stem for shard in known}
    new = new_sources(known, urls)
    times = Counter(_stem(url) for url in new)
    plain = Counter(_stem(url) for url in new if _is_plain(url))
    added = []
    for url in new:
        stem = _stem(url)
        same = plain[stem] if _is_plain(url) else times[stem]  # a plain name keeps its stem
        if same > 1 or stem in taken or len(stem) > _LONGEST:
            digest = hashlib.sha256(url.encode()).hexdigest()[:8]
            stem = f"{stem[: _LONGEST - 9]}-{digest}"
        added.append(SourceShard(url=url, stem=stem))
    return known + tuple(added)


def _stem(url: str) -> str:
    """The name of a shard in those of its files, where it is safe in every path and URL."""
    return _ODD.sub("_", _base(url)).lstrip("._") or "shard"  # readers skip such names


def _is_plain(url: str) -> bool:
    return not _ODD.search(_base(url))


def _base(url: str) -> str:
    base = posixpath.basename(url.rstrip("/"))
    for ending in (".gz", ".tgz", ".tar"):
        base = base.removesuffix(ending)
    return base


def _refuse_secrets(urls: list[str]) -> None:
    for url in urls:
        if storage.public_url(url) != url:
            raise ConfigError(
                f"{storage.public_url(url)}: the URL of a source or an output may hold no password "
                "and no query, since it is recorded: give credentials by environment or "
                "configuration file"
            )


def _refuse_undecodable(urls: list[str]) -> None:
    for url in urls:
        if url.encode(errors="replace").decode() != url:
            raise ConfigError(
                f"{url!a}: the names of sources and of OUTPUT must be UTF-8, since they are "
                "recorded: rename it"
            )


def _refuse_changes(begun: Run, recipe: Recipe, chosen: dict[str, Any], output: str) -> None:
    was = dict(placed(begun.recipe)) | begun.execution.model_dump()
    checkpoint = Binding.of_run(begun).checkpoint()
    recipe = with_suggestions(_as_named(recipe, begun), checkpoint)
    asked = dict(recipe) | {key: value for key, value in chosen.items() if value is not None}
    differ = [
        f"{field} ({_show(was[field])} there, {_show(value)} asked)"
        for field, value in asked.items()
        if was[field] != value
    ]
    if begun.columns != column_types(begun.recipe):
        differ.append("columns (its manifest has others than this diffaug writes)")
    digest = checkpoint.digest
    if not differ and digest != begun.model.digest:
        differ = [
            f"the weights of {recipe.model} ({begun.model.digest[:8]} there, {digest[:8]} here)"
        ]
    differ = differ or different_judges(begun, judge_digests(begun.recipe.judges))
    if differ:
        raise ConfigError(
            f"{storage.public_url(output)} was begun with another recipe: {', '.join(differ)}. "
            "Choose a new OUTPUT"
        )


def _as_named(recipe: Recipe, begun: Run) -> Recipe:
    """The recipe in the plan's words: its model, where it is the same commit, and what a field
    that the user left unset has there."""
    recipe = recipe.continuing(begun.recipe)
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
    here = versions(begun.recipe.medium)
    _refuse_unlike(begun, device_class(begun.execution.device), here, output)


def _refuse_unlike(begun: Run, device: str, installed: dict[str, str], output: str) -> None:
    here = {"device class": device} | _majors(installed)
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
    """The part of each version that must agree: the first number, or two while that is 0."""
    majors = {}
    for name, version in found.items():
        parts = version.split(".")
        majors[name] = ".".join(parts[:2] if parts[0] == "0" else parts[:1])
    return majors
