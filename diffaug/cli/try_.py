"""`diffaug try`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from diffaug import storage
from diffaug.cli.app import OK, app, err, out
from diffaug.cli.flags import Flags
from diffaug.cli.steps import advise, beside, command, flags, name_of, not_known
from diffaug.errors import ConfigError, require_extra
from diffaug.recipe import Recipe

if TYPE_CHECKING:
    from diffaug.job.trial import Trial

__all__ = ["try_"]

_FIELDS = (
    *("model", "strength", "steps", "sampler", "copies", "seed", "condition", "prompt"),
    *("negative_prompt", "guidance", "detail", "fit", "format", "background", "image_key"),
    "label_key",
)


class RecipeFlags(Flags, of=Recipe, only=_FIELDS):
    """The flags of the recipe; what a few pictures cannot show, such as filters, is left out."""


_NONE_GIVEN = RecipeFlags()


@app.command(name="try", usage="diffaug try SOURCE... [OPTIONS]")
def try_(
    *sources: Annotated[str, Parameter(name="SOURCE", show_default=False)],
    flags_given: RecipeFlags = _NONE_GIVEN,
    recipe: Path | None = None,
    classes_as_numbered: Annotated[bool, Parameter(negative=())] = False,
    file: Annotated[Path | None, Parameter(name=["--file", "-o"])] = None,
) -> int:
    """Edit twelve pictures at three strengths, and write one page to look at.

    The page and the command end with what the whole job would be: its command, hours and gigabytes.
    Nothing else is written.

    Parameters
    ----------
    sources
        a folder of pictures or of class folders; or one or more shards, as for diffaug augment
    recipe
        YAML file of recipe fields
    classes_as_numbered
        with --condition label: the sources number their classes as the model does, although the
        names that are known of both differ
    file
        the page, replacing an existing file [default: try-NAME.html in the current folder]
    """
    if not sources:
        raise ConfigError("try requires SOURCE: a folder of pictures, or shards")
    require_extra("try", "report", "jinja2", "pandas")
    fields = flags_given.given()
    made = Recipe.from_yaml(recipe, **fields) if recipe else Recipe.of(fields)
    page = storage.local_path(file or f"try-{name_of(sources)}.html")
    _check(page)

    from diffaug.job.trial import handful, run_trial
    from diffaug.media import as_model_takes
    from diffaug.models import checkpoint_of, suggestion_for
    from diffaug.report.tried import try_page
    from diffaug.shards.reading import listed

    checkpoint = checkpoint_of(made)
    if as_model_takes(made, checkpoint).medium == "text":
        raise ConfigError(
            "try shows pictures: of texts, diffaug augment SOURCE OUTPUT --pilot 12 writes some at "
            "several strengths into a file"
        )
    suggestion = suggestion_for(made, checkpoint)
    others = {name: value for name, value in suggestion.fields.items() if name != "strength"}
    if taken := replace(suggestion, fields=others):  # several strengths are tried, and shown
        err.print(str(taken), "suggested", **taken.fields)
    with handful(sources, made) as some, TemporaryDirectory(prefix="diffaug-try-") as folder:
        tried, named = f"{folder}/tried", listed([*map(storage.public_url, sources)])
        err.shown_as |= {str(some.shard.resolve()): named, str(some.shard): named}
        trial = run_trial(some, made, tried, classes_as_numbered=classes_as_numbered)
        whole = [*sources, beside(sources, "augmented")]
        whole += ["--recipe", str(recipe)] if recipe else []
        whole += flags(fields | {"strength": _shown(trial.strength)})
        whole += ["--classes-as-numbered"] if classes_as_numbered else []
        use, cost = command("augment", *whole), _cost(trial, made)
        unknown = not_known(made, checkpoint.card, sources, classes_as_numbered=classes_as_numbered)
        title = f"{trial.pictures} pictures of {name_of(sources)}"
        html = try_page(trial.output, title, command=use, cost=cost, not_known=unknown)
    _write(html, page)
    out.print(f"open {page}")
    out.print(f"all of them: {cost}")
    advise(unknown, f"next: {use}")
    return OK


def _shown(strength: object) -> str:
    return ",".join(map(str, strength)) if isinstance(strength, tuple) else str(strength)


def _cost(trial: Trial, recipe: Recipe) -> str:
    """What the whole job would be, in words."""
    from diffaug.job.estimate import hours, megabytes

    times = "" if recipe.copies == 1 else f" ({recipe.copies} copies of each picture)"
    if recipe.balance == "classes":
        times += " and more of rarer classes, which --dry-run counts"
    disk = f"{megabytes(trial.bytes)} of disk"
    return f"about {trial.images:,} images{times}, {hours(trial.seconds)}, {disk}"


def _check(page: Path) -> None:
    """Find out now, not when all pictures are made, whether the page can be written."""
    if page.is_dir():
        raise ConfigError(f"{page} is a folder: name a file for the page with -o")
    try:
        with storage.scratch(str(page.parent)):
            pass
    except OSError as error:
        raise _cannot_write(page, error) from None


def _write(html: str, page: Path) -> None:
    try:
        storage.replace(html.encode(), str(page))
    except OSError as error:
        raise _cannot_write(page, error) from None


def _cannot_write(page: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write {page}: {error.strerror or error}: name another FILE with -o")
