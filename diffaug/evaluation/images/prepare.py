"""Preparation of an evaluation: afterwards OUTPUT holds all the images that it needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path

from PIL import Image

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation.arms import arms_of, uses_model
from diffaug.evaluation.images.drawn import Drawn, Passed, PictureId
from diffaug.evaluation.images.elsewhere import (
    places_of,
    pool_of,
    read_elsewhere,
    save_elsewhere,
)
from diffaug.evaluation.images.found import Found, read_found_if_any, write_found
from diffaug.evaluation.images.further import take_further
from diffaug.evaluation.images.pictures import (
    Form,
    Picture,
    Pictures,
    each_picture,
    read_keys,
    read_pictures,
    write_shard,
)
from diffaug.evaluation.images.pool import Pool
from diffaug.evaluation.images.sets import write_scored_sets
from diffaug.evaluation.plan import EvaluationPlan, freeze_plan, read_plan_if_any
from diffaug.evaluation.settings import ALL, budget
from diffaug.job.look import look_at_classes, refuse_losses
from diffaug.models import Checkpoint, checkpoint_of, load_model
from diffaug.output.evaluation import EvaluationOutput
from diffaug.pack.beside import keys_by_path
from diffaug.pictures.fit import Fit

__all__ = ["prepare"]


def prepare(
    plan: EvaluationPlan, output: str, passed: Passed = iter, *, classes_as_numbered: bool = False
) -> Found:
    """Draw each seed's images, corrupt those that classifiers are scored on, and freeze the plan.

    Reads the sources twice, shard by shard, so that memory holds only what was drawn, however
    large they are. Does nothing if OUTPUT is prepared already.

    Args:
        plan: the evaluation.
        output: its OUTPUT, a local folder.
        passed: passes on the shards of each reading, and may report progress.
        classes_as_numbered: as for `diffaug.job.plan.plan_run`.

    Raises:
        ConfigError: a class has too few images, images differ in size, validation or test images
            have classes that the source lacks, or OUTPUT already holds folders of these names.
        OSError: a shard cannot be read.
    """
    begun = read_plan_if_any(output) is not None
    if begun and (found := read_found_if_any(output)) is not None:
        return found
    makes = uses_model(plan.settings) and not begun
    checkpoint = checkpoint_of(plan.recipe) if makes else None
    if checkpoint is not None and not classes_as_numbered:
        look_at_classes(plan.sources[0], checkpoint.card, plan.recipe)
    drawn = Drawn.of(plan, passed)
    if checkpoint is not None:
        _refuse_losses(plan, drawn.form, checkpoint)
    with storage.scratch(output) as scratch:
        _write(plan, drawn, scratch, passed)
        _take_elsewhere(plan, drawn, str(scratch), output)
        _take_further(plan, drawn, str(scratch))
        made = [folder for folder in scratch.iterdir() if folder.is_dir()]
        places = {folder: EvaluationOutput(output).folder / folder.name for folder in made}
        taken = [place for place in places.values() if place.exists()]
        if taken and not begun:
            raise ConfigError(f"{taken[0]} is there already: choose a new OUTPUT")
        freeze_plan(plan, output)
        for folder, place in places.items():
            if place in taken:  # from a process that was killed here
                shutil.rmtree(place)
            folder.rename(place)
    found = drawn.found()
    write_found(found, output)
    return found


def _refuse_losses(plan: EvaluationPlan, form: Form, checkpoint: Checkpoint) -> None:
    """Refuse a recipe whose results lose what the pictures of the evaluation have."""
    recipe = plan.recipe.model_copy(update={"result": "source"})  # as the jobs have it
    if recipe.detail == "none" and recipe.medium != "text":
        shape = load_model(checkpoint, plan.execution).shape
        image = Image.new(form.mode, (form.width, form.height))
        found = Fit.of(image, shape, recipe.fit).losses(image)
        refuse_losses(dict.fromkeys(found, "all"), plan.recipe, shape)


def _take_elsewhere(plan: EvaluationPlan, drawn: Drawn, folder: str, output: str) -> None:
    """What was made elsewhere of each seed's labelled images."""
    elsewhere = plan.settings.made_elsewhere
    if not elsewhere:
        return
    if drawn.form.frames is not None:
        raise ConfigError("augmented: clips that were made elsewhere are not taken: leave it out")
    labelled = [EvaluationOutput(folder).labelled(seed) for seed in range(plan.settings.seeds)]
    keys, paths = [read_keys(shard) for shard in labelled], keys_by_path(output, plan.sources)
    for name, place in elsewhere.items():
        read = lru_cache(maxsize=len(plan.settings.labels))(  # most have all seeds in one place
            partial(
                read_elsewhere,
                name,
                form=drawn.form,
                keys=set(chain(*keys)),
                known=drawn.keys,
                paths=paths,
                medium=plan.recipe.medium,
            )
        )
        for seed, shard in enumerate(labelled):
            pictures = read_pictures(shard, drawn.form.mode)
            places = places_of(place, plan.seed_of(seed), plan.settings.labels)
            for labels, url in places.items():
                pool = pool_of(read(url), name, url, pictures, keys[seed], paths)
                for one in plan.settings.labels if labels is None else (labels,):
                    _refuse_empty(name, url, pool, one, pictures)
                save_elsewhere(pool, folder, seed, name, labels)


def _refuse_empty(name: str, url: str, pool: Pool, labels: int, pictures: Pictures) -> None:
    """Refuse an arm that would have nothing at a budget, and train on labelled samples alone."""
    count = len(pictures) if labels == ALL else labels * len(set(pictures.labels.tolist()))
    if not pool.there[:count].any():
        raise ConfigError(
            f"augmented {name}: {storage.public_url(url)} has copies of none of the {count} "
            f"samples that are labelled with {budget(labels)}: give some, or leave this budget out"
        )


def _take_further(plan: EvaluationPlan, drawn: Drawn, folder: str) -> None:
    """Images that have classes of their own, which all seeds share."""
    classes, tested = {label for _, label in drawn.labelled[0]}, set(drawn.tested or ())
    validation = {pixels for one in drawn.validation for pixels, _ in one}
    for arm in arms_of(plan.settings):
        if arm.images is not None and arm.own:
            # an arm on trial must not be chosen on what it trained on
            apart = tested | validation if arm.is_on_trial else tested
            place = EvaluationOutput(folder).further(arm.family)
            take_further(arm.family, arm.images, drawn.form, place, classes, apart, plan)


def _write(plan: EvaluationPlan, drawn: Drawn, folder: Path, passed: Passed) -> None:
    """Folders seed-0, seed-1, ... and test, of shards and their corrupted images."""
    made = EvaluationOutput(str(folder))
    needed = set(chain.from_iterable((*drawn.labelled, *drawn.validation)))
    pictures = _pick(plan, passed((*plan.sources, *plan.validation)), needed)
    for seed, (labelled, validation) in enumerate(
        zip(drawn.labelled, drawn.validation, strict=True)
    ):
        write_shard([pictures[one] for one in labelled], drawn.form, made.labelled(seed))
        write_shard([pictures[one] for one in validation], drawn.form, made.validation(seed))
        write_scored_sets(made.validation(seed), drawn.form.mode, plan.settings)
    if drawn.tested is not None:
        tested = list(each_picture(passed(plan.test), plan.recipe))
        write_shard(tested, drawn.form, made.test)
        write_scored_sets(made.test, drawn.form.mode, plan.settings)


def _pick(
    plan: EvaluationPlan, urls: Iterable[str], needed: set[PictureId]
) -> dict[PictureId, Picture]:
    pictures = each_picture(urls, plan.recipe)
    named = (((picture.pixels, picture.label), picture) for picture in pictures)
    return {name: picture for name, picture in named if name in needed}
