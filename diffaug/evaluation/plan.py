"""OUTPUT/evaluation.json: everything that defines an evaluation, frozen before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from diffaug import storage
from diffaug.errors import ConfigError, explain
from diffaug.evaluation.arms import uses_model
from diffaug.evaluation.kinds import IMAGES, SMALL, TEXTS, Kind
from diffaug.evaluation.settings import DEFAULT_RECIPE, Evaluation, named
from diffaug.evaluation.synonyms import synonyms_in
from diffaug.execution import Execution, device_class, versions
from diffaug.job.decided import with_medium
from diffaug.models import checkpoint_of
from diffaug.models.suggestion import with_taught_guidance
from diffaug.output.evaluation import EvaluationOutput
from diffaug.output.sources import source_shards
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
        recipe: how images are augmented, except for the strength.
        model_digest: digest of the diffusion model's weights.
        model_labels: how many labels of its classes the model was trained on; 0 if that is not
            known.
        execution: how the networks run.
        sources: shards that labelled images are drawn from.
        validation: shards that validation images are drawn from; if empty, the sources.
        test: shards of test images.
        device_class: kind of machine that it began on.
        versions: versions of the libraries that compute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    settings: Evaluation
    recipe: Annotated[Recipe, BeforeValidator(Recipe.recorded)]
    model_digest: str
    model_labels: int = 0
    execution: Execution
    sources: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    device_class: str
    versions: dict[str, str]

    def seed_of(self, number: int) -> int:
        """The seed of all that is drawn in a repetition: images, batches, weights and copies."""
        return self.recipe.seed + number


def plan_evaluation(
    sources: list[str],
    output: str,
    *,
    test: list[str],
    validation: list[str] | None = None,
    settings: Evaluation | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> EvaluationPlan:
    """Plan an evaluation, or resume the one that OUTPUT holds.

    The machine and the versions may differ from those that it began with: each training is one
    sample among many, so its last bits do not matter.

    Args:
        sources: shards with classes: files, globs or brace ranges, on any fsspec URL.
        output: a local folder.
        test: shards of test images; nothing is chosen on them.
        validation: shards to draw validation images from; by default the sources.
        settings: what to compare, or a dict of its fields.
        recipe: how to augment, or a dict of its fields; the settings' strengths replace its
            strength.
        batch_size: batch size of the diffusion model, as in a job.
        dtype: dtype of all networks.
        device: device of all networks.

    Raises:
        ConfigError: an argument is invalid, or OUTPUT holds another evaluation.
    """
    settings = Evaluation.taken({} if settings is None else settings)
    recipe = Recipe.taken(DEFAULT_RECIPE if recipe is None else recipe)
    storage.refuse_root(output)
    if "://" in output and not storage.is_local(output):
        raise ConfigError(f"{storage.public_url(output)}: an evaluation requires a local folder")
    begun = read_plan_if_any(output)
    if begun is not None:
        recipe = recipe.continuing(begun.recipe)
        if "arms" not in settings.model_fields_set:  # their default grows
            settings = settings.model_copy(update={"arms": begun.settings.arms})
    urls = source_shards(sources, output)
    recipe = with_medium(recipe, urls[0])
    if recipe.medium == "text" and "sampler" not in recipe.model_fields_set:
        recipe = recipe.model_copy(update={"sampler": "random"})
    settings = _for_kind(settings, TEXTS if recipe.medium == "text" else IMAGES)
    if recipe.medium == "clip" and settings.classifier not in SMALL:
        raise ConfigError(f"classifier: of clips it must be {' or '.join(SMALL)}")
    checkpoint = checkpoint_of(recipe)
    is_text = settings.kind is TEXTS
    if is_text and uses_model(settings) and not checkpoint.is_language_model:
        raise ConfigError(
            f"model: texts are edited by a masked language model, and {recipe.model} is none: give "
            "one, or leave out the arms of diffusion"
        )
    recipe = with_taught_guidance(recipe, checkpoint)
    if settings.model_saw is None:
        saw = checkpoint.card.saw if checkpoint.card else "unknown"
        settings = settings.model_copy(update={"model_saw": saw})
    execution = Execution.choose(batch_size, dtype, device)
    plan = EvaluationPlan(
        settings=settings,
        recipe=recipe,
        model_digest=checkpoint.digest,
        model_labels=checkpoint.card.labels if checkpoint.card else 0,
        execution=execution,
        sources=tuple(urls),
        validation=tuple(source_shards(validation, output) if validation else ()),
        test=tuple(source_shards(test, output) if test else ()),
        device_class=device_class(execution.device),
        versions=versions(),
    )
    _refuse_test_in_source(plan)
    differ = [] if begun is None else _differ(begun, plan)
    if differ:
        raise ConfigError(
            f"{output} holds another evaluation: {', '.join(differ)}. Choose a new OUTPUT"
        )
    return begun or plan


def freeze_plan(plan: EvaluationPlan, output: str) -> None:
    """Write OUTPUT/evaluation.json."""
    text = plan.model_dump_json(indent=1) + "\n"
    storage.replace(text.encode(), EvaluationOutput(output).plan_json)


def read_plan(output: str) -> EvaluationPlan:
    """The plan in OUTPUT.

    Raises:
        ConfigError: OUTPUT holds no plan, or one that this version cannot read.
    """
    plan = read_plan_if_any(output)
    if plan is None:
        raise ConfigError(f"{output} is not an evaluation: it has no evaluation.json")
    return plan


def read_plan_if_any(output: str) -> EvaluationPlan | None:
    """The plan in OUTPUT; None if OUTPUT holds none.

    Raises:
        ConfigError: this version cannot read it.
    """
    url = EvaluationOutput(output).plan_json
    try:
        return EvaluationPlan.model_validate_json(storage.read_bytes(url))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConfigError(f"{url}: {explain(error)}") from None


def _for_kind(settings: Evaluation, kind: Kind) -> Evaluation:
    """The settings for images or for texts, whose defaults differ.

    Raises:
        ConfigError: they ask for what the kind has not.
    """
    given = settings.model_fields_set
    if kind is TEXTS:
        usual = {"classifier": kind.classifiers[0], "arms": kind.usual}
        settings = settings.model_copy(
            update={field: value for field, value in usual.items() if field not in given}
        )
        for field in ("size", "corruptions", "severities", "one_step_strengths"):
            if field in given and getattr(settings, field) != getattr(Evaluation(), field):
                raise ConfigError(f"{field}: texts have none: leave it out")
    if settings.kind is not kind:
        raise ConfigError(
            f"classifier: {settings.classifier} is not for {kind.noun}s: use "
            f"{' or '.join(kind.classifiers)}{', or a model' if kind is IMAGES else ''}"
        )
    for arm in settings.arms:
        for part in arm.split("+"):
            if part not in kind.families:
                texts = ", or give medium=text if these are texts" if part in TEXTS.families else ""
                raise ConfigError(
                    f"arms: {part!r} is not for {kind.noun}s: use {', '.join(kind.families)}{texts}"
                )
            if part == "eda":
                synonyms_in(settings.synonyms)  # fails now rather than in hours
    return settings


def _refuse_test_in_source(plan: EvaluationPlan) -> None:
    used = set(map(storage.identity, (*plan.sources, *plan.validation)))
    both = [url for url in plan.test if storage.identity(url) in used]
    if both:
        raise ConfigError(f"--test: {both[0]} is a source too: test on images used nowhere else")


def _differ(begun: EvaluationPlan, plan: EvaluationPlan) -> list[str]:
    """The fields that differ; those of settings and recipe by their own names."""
    there, here = _flat(begun), _flat(plan)
    return [
        f"{name} ({there.get(name)} there, {here.get(name)} requested)"
        for name in {**there, **here}
        if there.get(name) != here.get(name)
    ]


def _flat(plan: EvaluationPlan) -> dict[str, Any]:
    fields = plan.model_dump(mode="json", exclude={"device_class", "model_labels", "versions"})
    if not uses_model(plan.settings):
        del fields["model_digest"]  # no model is used
    for name in ("sources", "validation", "test"):
        fields[name] = list(map(storage.identity, fields[name]))
    for name in ("augmented", "further", "control"):
        given = named(fields["settings"][name])
        fields["settings"][name] = [f"{arm}={storage.identity(url)}" for arm, url in given.items()]
    inner = {f"settings {name}": value for name, value in fields.pop("settings").items()}
    inner |= {f"recipe {name}": value for name, value in fields.pop("recipe").items()}
    return fields | inner
