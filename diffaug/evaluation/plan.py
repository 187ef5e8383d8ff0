"""OUTPUT/evaluation.json: what an evaluation is, frozen before it begins."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from diffaug import storage
from diffaug.errors import ConfigError, explain
from diffaug.evaluation.settings import DEFAULT_RECIPE, Evaluation
from diffaug.execution import Execution, device_class, versions
from diffaug.models import checkpoint_of
from diffaug.recipe import Recipe

__all__ = [
    "EvaluationPlan",
    "freeze_plan",
    "plan_evaluation",
    "read_plan",
    "read_plan_if_any",
]


class EvaluationPlan(BaseModel):
    """Everything frozen about an evaluation.

    Attributes:
        settings: what is compared.
        recipe: how images are augmented, but for the strength.
        model_digest: of the diffusion model's weights.
        execution: on what they are augmented.
        sources: shards that labelled images are drawn from.
        validation: shards that validation images are drawn from; none: from the sources.
        test: shards of test images.
        device_class: of the machine it began on.
        versions: of what computes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    settings: Evaluation
    recipe: Recipe
    model_digest: str
    execution: Execution
    sources: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    device_class: str
    versions: dict[str, str]


def plan_evaluation(
    sources: list[str],
    output: str,
    *,
    test: list[str],
    validation: list[str] | None = None,
    settings: Evaluation | None = None,
    recipe: Recipe | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> EvaluationPlan:
    """Plan an evaluation, or take up the one that OUTPUT holds.

    Machine and versions may be others than those it began with: a training is a sample, and its
    last bits are no matter.

    Args:
        sources: shards with classes: files, globs, brace ranges, on any fsspec URL.
        output: a local folder.
        test: shards of test images, which nothing is chosen on.
        validation: shards to draw validation images from; by default the sources.
        settings: what to compare.
        recipe: how to augment; its strength gives way to those of the settings.
        batch_size: of the diffusion model, as in a job.
        dtype: of all networks.
        device: of all networks.

    Raises:
        ConfigError: something is wrong, or OUTPUT holds another evaluation.
    """
    settings, recipe = settings or Evaluation(), recipe or DEFAULT_RECIPE
    if "://" in output:
        raise ConfigError(f"{storage.public_url(output)}: an evaluation wants a local folder")
    checkpoint = checkpoint_of(recipe)
    if settings.model_saw is None:
        saw = checkpoint.card.saw if checkpoint.card else "unknown"
        settings = settings.model_copy(update={"model_saw": saw})
    execution = Execution.choose(batch_size, dtype, device)
    plan = EvaluationPlan(
        settings=settings,
        recipe=recipe,
        model_digest=checkpoint.digest,
        execution=execution,
        sources=tuple(storage.expand(sources)),
        validation=tuple(storage.expand(validation or [])),
        test=tuple(storage.expand(test)),
        device_class=device_class(execution.device),
        versions=versions(),
    )
    _refuse_test_in_source(plan)
    begun = read_plan_if_any(output)
    differ = [] if begun is None else _differ(begun, plan)
    if differ:
        raise ConfigError(
            f"{output} holds another evaluation: {', '.join(differ)}. Choose a new OUTPUT"
        )
    return begun or plan


def freeze_plan(plan: EvaluationPlan, output: str) -> None:
    """Write OUTPUT/evaluation.json."""
    storage.replace((plan.model_dump_json(indent=1) + "\n").encode(), _url(output))


def read_plan(output: str) -> EvaluationPlan:
    """The plan in OUTPUT.

    Raises:
        ConfigError: there is none, or none that this diffaug reads.
    """
    plan = read_plan_if_any(output)
    if plan is None:
        raise ConfigError(f"{output} is no output of an evaluation: it has no evaluation.json")
    return plan


def read_plan_if_any(output: str) -> EvaluationPlan | None:
    """The plan in OUTPUT; None where none is frozen yet."""
    try:
        return EvaluationPlan.model_validate_json(storage.read_bytes(_url(output)))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConfigError(f"{_url(output)}: {explain(error)}") from None


def _url(output: str) -> str:
    return storage.join(output, "evaluation.json")


def _refuse_test_in_source(plan: EvaluationPlan) -> None:
    both = sorted({*plan.sources, *plan.validation} & {*plan.test})
    if both:
        raise ConfigError(f"--test: {both[0]} is a source too: test on images nothing else sees")


def _differ(begun: EvaluationPlan, plan: EvaluationPlan) -> list[str]:
    """The fields that differ, those within settings and recipe by their own names."""
    there, here = _flat(begun), _flat(plan)
    return [
        f"{name} ({there.get(name)} there, {here.get(name)} asked)"
        for name in {**there, **here}
        if there.get(name) != here.get(name)
    ]


def _flat(plan: EvaluationPlan) -> dict[str, Any]:
    fields = plan.model_dump(mode="json", exclude={"device_class", "versions"})
    inner = {f"settings {name}": value for name, value in fields.pop("settings").items()}
    inner |= {f"recipe {name}": value for name, value in fields.pop("recipe").items()}
    return fields | inner
