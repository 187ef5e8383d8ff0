"""The flow `evaluate-augmentation`: generate for each seed, train, report whether it helps."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Failed

from diffaug import ConfigError, Recipe, UncommittedError
from diffaug.evaluation.images.generate import generate, pools_of
from diffaug.evaluation.images.prepare import prepare
from diffaug.evaluation.plan import plan_evaluation, read_plan
from diffaug.evaluation.settings import DEFAULT_RECIPE, Evaluation, named
from diffaug.evaluation.trials.run import missing_trials, rounds, run_trials
from diffaug.evaluation.verdict.conclude import conclude
from diffaug.output.markdown import code, text
from flows.folders import packed
from flows.groups import RETRIES, run_name
from flows.paths import models_of, require_absolute, require_absolute_models

DEFAULT_SETTINGS = Evaluation()


@task(task_run_name="generate for seed {seed}", **RETRIES)
def generate_seed(output: str, seed: int) -> int:
    """Make the missing augmented images of one seed, and return how many it has in all."""
    plan = read_plan(output)
    return sum(done.images for done in generate(plan, output, seed, pools_of(plan)))


@task(**RETRIES)
def train_classifiers(output: str) -> int:
    """Do the trainings that are not done and can be, and return their number."""
    return sum(run_trials(output, missing_trials(read_plan(output), output)))


@flow(name="evaluate-augmentation", flow_run_name=run_name("evaluate", "source", "output"))
def evaluate_augmentation(
    source: str | list[str],
    output: str,
    test: str | list[str],
    validation_source: str | list[str] | None = None,
    settings: Evaluation = DEFAULT_SETTINGS,
    recipe: Recipe | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    classes_as_numbered: bool = False,
) -> list[dict[str, Any]] | State[Any]:
    """Train classifiers with and without the augmentation, and report whether it helps.

    Args:
        source: shards with classes or folders of class folders, to draw labelled images from.
        output: a folder on the worker's machine.
        test: shards or a folder of test images; nothing is chosen on them.
        validation_source: shards or a folder to draw validation images from; by default the source.
        settings: what to compare.
        recipe: how to augment, by default ten copies of ten steps; the strengths of `settings`
            replace its strength.
        batch_size: batch size of the diffusion model: lanes in its one fixed batch shape.
        dtype: dtype of all networks; by default the faster one on the machine.
        device: device of all networks; by default cuda if available.
        classes_as_numbered: with condition=label, the sources number their classes as the model
            does, although the names that are known of both differ.
    """
    try:
        require_absolute(
            source=source, output=output, test=test, validation_source=validation_source
        )
        for field in ("augmented", "further", "control"):
            require_absolute(**{field: list(named(getattr(settings, field)).values())})
        recipe = recipe or DEFAULT_RECIPE
        require_absolute_models(classifier=settings.classifier, **models_of(recipe))
        shards, _ = packed(output, source, test, validation_source, max_pixels=recipe.max_pixels)
        plan = plan_evaluation(
            shards[0],
            output,
            test=shards[1],
            validation=shards[2],
            settings=settings,
            recipe=recipe,
            batch_size=batch_size,
            dtype=dtype,
            device=device,
        )
        found = prepare(plan, output, classes_as_numbered=classes_as_numbered)
        for reason in found.why:
            get_run_logger().warning("left out %s", reason)
        for seeds, missing in rounds(plan, output):
            for seed in seeds:
                generate_seed(output, seed)
            if missing:
                train_classifiers(output)
        conclusion = conclude(plan, output)
    except (ConfigError, UncommittedError) as error:
        return Failed(message=str(error))
    except OSError as error:
        return Failed(message=f"storage failed: {error}. Run it again to continue")
    rows = [
        {
            "labels": one.labels,
            f"{plan.settings.kind.noun}s": one.of,
            "verdict": one.word,
            "arm": one.arm,
        }
        for one in conclusion.verdicts
    ]
    create_table_artifact(rows, key="evaluation-verdicts", description=text(output))
    said = "\n".join(map(text, str(conclusion).splitlines()))
    create_markdown_artifact(f"{said}\n\n{code(f'{output}/results')}", key="evaluation-summary")
    return rows
