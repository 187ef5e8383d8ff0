"""`diffaug evaluate`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from diffaug import storage
from diffaug.cli.app import OK, app, err, out
from diffaug.cli.flags import Flags
from diffaug.cli.folders import packed
from diffaug.cli.progress import counted
from diffaug.cli.steps import advise, beside, command, flags
from diffaug.errors import ConfigError, require_extra
from diffaug.evaluation.arms import uses_model
from diffaug.evaluation.kinds import DIFFUSION, FIXED, IMAGES, TEXTS, UNEQUAL
from diffaug.evaluation.settings import DEFAULT_RECIPE, Evaluation
from diffaug.output.evaluation import EvaluationOutput
from diffaug.recipe import Recipe
from diffaug.recipe.texts import TEXT_FIELDS

if TYPE_CHECKING:
    from diffaug.evaluation.plan import EvaluationPlan
    from diffaug.evaluation.search import Schedule
    from diffaug.evaluation.verdict.conclusion import Conclusion

__all__ = ["evaluate"]


class SettingsFlags(Flags, of=Evaluation, group="Settings (override --settings)"):
    """The flags of the settings."""


_FIELDS = (
    *("model", "condition", "to_class", "guidance", "steps", "sampler", "copies", "seed"),
    *("detail", "label_key", "background"),
    *("medium", "noise_time", "frames", "fps", "window"),
    *TEXT_FIELDS,
)


class RecipeFlags(Flags, of=Recipe, only=_FIELDS, defaults=DEFAULT_RECIPE):
    """The flags of the recipe; the settings or the evaluation itself determine the rest."""


_BUDGET = 40
"""Trainings of a search, unless the user gives their number."""

_NO_SETTINGS, _NO_FIELDS = SettingsFlags(), RecipeFlags()


@app.command(usage="diffaug evaluate SOURCE... OUTPUT --test SHARDS [OPTIONS]")
def evaluate(
    *paths: Annotated[str, Parameter(name="SOURCE... OUTPUT", show_default=False)],
    test: Annotated[list[str] | None, Parameter(negative=())] = None,
    validation_source: Annotated[list[str] | None, Parameter(negative=())] = None,
    settings: Path | None = None,
    setting_flags: SettingsFlags = _NO_SETTINGS,
    recipe: Path | None = None,
    recipe_flags: RecipeFlags = _NO_FIELDS,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    search: str | None = None,
    budget: int | None = None,
    classes_as_numbered: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    spread: float | None = None,
) -> int:
    """Train classifiers with and without the augmentation, and report whether it helps.

    Run it again to continue an interrupted evaluation. OUTPUT/results holds tables, plots and the
    verdict.

    Parameters
    ----------
    paths
        one or more shards with classes or folders of class folders, to draw labelled images from;
        then a local output folder
    test
        shards or a folder of test images; never used to choose anything
    validation_source
        shards or a folder to draw validation images from [default: SOURCE]
    settings
        YAML file of settings
    recipe
        YAML file of recipe fields, as for `diffaug augment`; --strengths replaces its strength
    batch_size
        batch size of the diffusion model: lanes in its one fixed batch shape [default: 32]
    dtype
        dtype of all networks: float32 or bfloat16 [default: the faster one on this machine]
    device
        device of all networks: cpu, cuda or cuda:N [default: cuda if available]
    search
        strength=lo:hi: instead of an evaluation, find the best strength on validation images, and
        write OUTPUT/recipe.yaml for diffaug augment
    budget
        most trainings that a search may run, at least 8 [default: 40]
    classes_as_numbered
        with --condition label: the sources number their classes as the model does, although the
        names that are known of both differ
    dry_run
        print what there is to do and the smallest gain that it could show; write nothing, but for
        the shards of a folder of pictures
    spread
        with --dry-run: by how many points arms differ from seed to seed (standard deviation)
        [default: as in OUTPUT's results, else what so many test images make it at least]
    """
    if len(paths) < 2:
        raise ConfigError("evaluate requires SOURCE... OUTPUT: at least one shard, then a folder")
    require_extra("evaluate", "evaluate", "matplotlib", "pandas")
    *sources, output = paths
    given, fields = setting_flags.given(), recipe_flags.given()
    requested = Evaluation.from_yaml(settings, **given) if settings else Evaluation.of(given)

    if (search is None) == (not test):
        raise ConfigError("evaluate requires either --test SHARDS or --search strength=lo:hi")
    if search is None and budget is not None:
        raise ConfigError("--budget is for --search: give both or neither")
    if dry_run and search is not None:
        raise ConfigError("--dry-run does nothing with --search: leave it out")
    if spread is not None and not dry_run:
        raise ConfigError("--spread is for --dry-run: give both or neither")
    if spread is not None and not spread > 0:
        raise ConfigError(f"--spread must be more than 0 points, got {spread:g}")

    from diffaug.evaluation.forecast import forecast
    from diffaug.evaluation.images.prepare import prepare
    from diffaug.evaluation.plan import plan_evaluation
    from diffaug.evaluation.trials.classifier import Task, new_classifier

    if not storage.local_path(EvaluationOutput(output).plan_json).exists():  # else it has begun
        _refuse_unused(requested, given, fields, search is not None)
    schedule = None
    if search is not None:
        from diffaug.evaluation.search import Schedule, candidates, settings_of

        schedule = Schedule.of(_BUDGET if budget is None else budget)
        requested = settings_of(requested, schedule, candidates(search, schedule))
    made = (
        Recipe.from_yaml(recipe, **fields)
        if recipe
        else Recipe.of(DEFAULT_RECIPE.model_dump(exclude_unset=True) | fields)
    )
    shards, _ = packed(
        output, sources, test or [], validation_source or [], max_pixels=made.max_pixels
    )
    plan = plan_evaluation(
        shards[0],
        output,
        test=shards[1],
        validation=shards[2],
        settings=requested,
        recipe=made,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
    )

    def passed(shards: Sequence[str]) -> Iterable[str]:
        return counted(shards, len(shards), "reading shards", err)

    if dry_run:
        out.print(str(forecast(plan, output, passed, spread)))
        advise("next: the same command without --dry-run")
        return OK
    noun = plan.settings.kind.noun
    found = prepare(plan, output, passed, classes_as_numbered=classes_as_numbered)
    for reason in found.why:
        err.print(f"left out {reason}")
    err.print(
        f"{found.labelled} labelled and {found.validation} validation {noun}s per seed, "
        f"{found.test} test {noun}s, {found.left_out} left out"
    )
    new_classifier(plan.settings.classifier, Task(3, 2, 32), 0)  # fails now rather than in hours
    if schedule is None:
        return _conclude(plan, sources, output, classes_as_numbered=classes_as_numbered)
    return _search(plan, sources, output, schedule, classes_as_numbered=classes_as_numbered)


def _refuse_unused(
    requested: Evaluation, given: Collection[str], fields: Collection[str], searches: bool
) -> None:
    """Refuse flags that would do nothing; files of settings and recipes may serve other uses."""
    arms = {part for arm in requested.arms for part in arm.split("+")}
    unused = dict[str, str]()
    if searches:
        why = "with --search, which tries reconstruct at the strengths of its range"
        unused |= dict.fromkeys(("arms", "strengths", "one_step_strengths", "seeds"), why)
        why = "with --search, which gives no verdict"
        images = ("augmented", "further", "control")
        unused |= dict.fromkeys((*images, "model_saw", "measure", "worth", "until"), why)
        if len(requested.labels) > 1:
            unused["labels"] = "with --search but for the last of several numbers"
    else:
        in_steps = arms & {"reconstruct", "filtered"}
        if not in_steps:
            unused |= dict.fromkeys(("strengths", "steps", "sampler"), "without reconstruct")
        if "one-step" not in arms:
            unused["one_step_strengths"] = "without the arm one-step"
        if not arms.intersection(DIFFUSION):
            why = "without an arm of diffusion"
            named = (
                *("model", "condition", "to_class", "guidance", "detail", "model_saw", "soften"),
                *("keep", "temperature", "top_p", "long_text"),
            )
            unused |= dict.fromkeys(named, why)
            if not arms.intersection(FIXED):
                unused["copies"] = why
        plain = {"real", IMAGES.baseline, "mixup", "oversampled", "longer", *UNEQUAL}
        on_trial = (*requested.augmented, *requested.further)
        if not on_trial and not requested.control and arms <= plain:
            unused["weight"] = "without an arm that augments"
            if "oversampled" not in arms:
                unused["share"] = unused["weight"]
        if "longer" not in arms:
            unused["longer"] = "without the arm of that name"
        if not arms.intersection(DIFFUSION) and not on_trial:
            unused |= dict.fromkeys(("worth", "until"), "with nothing on trial")
            if matched := [
                arm for arm in requested.arms if arm in (*IMAGES.matched, *TEXTS.matched)
            ]:
                match = "match" if len(matched) > 1 else "matches"
                others = DIFFUSION if set(matched) & set(IMAGES.matched) else DIFFUSION[:2]
                raise ConfigError(
                    f"arms: {' and '.join(matched)} {match} an arm of diffusion, and there is "
                    f"none: add {', '.join(others)}, or leave it out"
                )
    for name in (name for name in (*given, *fields) if name in unused):
        raise ConfigError(f"--{name.replace('_', '-')} does nothing {unused[name]}: leave it out")


def _conclude(
    plan: EvaluationPlan, sources: list[str], output: str, *, classes_as_numbered: bool
) -> int:
    from diffaug.evaluation.trials.run import rounds, run_trials
    from diffaug.evaluation.verdict.conclude import conclude

    for seeds, missing in rounds(plan, output):
        if seeds:
            _generate(plan, output, seeds)
        if missing:
            count = sum(map(len, missing.values()))
            err.print(f"{count} trainings to do")
            for _ in counted(run_trials(output, missing), count, "training classifiers", err):
                pass
    conclusion = conclude(plan, output)
    out.print(str(conclusion))
    out.print(f"tables and plots: {output}/results")
    suggested = _suggested(conclusion, plan, sources, classes_as_numbered=classes_as_numbered)
    advise(f"next: {command('report', output)}", suggested)
    return OK


def _generate(plan: EvaluationPlan, output: str, seeds: range) -> None:
    from diffaug.evaluation.images.generate import generate, pools_of

    pools = pools_of(plan)
    jobs = (done for seed in seeds for done in generate(plan, output, seed, pools))
    for done in counted(jobs, len(seeds) * len(pools), "generating pools", err):
        if not err.is_live:
            made = f"seed {done.seed}: {done.images} {plan.settings.kind.noun}s of {done.arm.name}"
            err.print(f"{made}, {done.failed} failed, {done.seconds:.0f} s")


def _suggested(
    conclusion: Conclusion,
    plan: EvaluationPlan,
    sources: list[str],
    *,
    classes_as_numbered: bool = False,
) -> str:
    """What the verdicts suggest: to augment with what helps, or to train without it."""
    told = ["--classes-as-numbered"] if classes_as_numbered else []
    for verdict in conclusion.verdicts:
        parts = verdict.arm.partition(" ")[0].split("+")
        if verdict.word == "helps" and verdict.strength is None:
            return f"{verdict.arm} helps, so train with those {plan.settings.kind.noun}s, too"
        if verdict.word == "helps" and ("filtered" not in parts or plan.recipe.filters):
            fields = _given(plan.recipe)
            fields |= {"strength": f"{verdict.strength:g}"}
            fields |= {"sampler": "one-step"} if "one-step" in parts else {}
            made = [*sources, beside(sources, "augmented"), *flags(fields), *told]
            return f"{verdict.arm} helps, so use it: {command('augment', *made)}"
    search = [*sources, beside(sources, "searched"), *flags({"model": plan.recipe.model})]
    search += ["--search", "strength=0.1:0.9"]
    noun = plan.settings.kind.noun
    if plan.settings.kind is TEXTS and not uses_model(plan.settings):
        return f"train without these {noun}s"
    return f"train without these {noun}s, or look for a strength: {command('evaluate', *search)}"


def _given(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe that a command must name.

    Those of one read back are all set. So what has its default is left out, but not what the card
    of a model may suggest, or the model itself, whose default may change.
    """
    named, plain = {"model", *Recipe.suggested}, Recipe()
    fields = {name: getattr(recipe, name) for name in recipe.model_fields_set}
    differ = {name for name in fields if fields[name] != getattr(plain, name)}
    return recipe.model_dump(include=(named & recipe.model_fields_set) | differ)


def _search(
    plan: EvaluationPlan,
    sources: list[str],
    output: str,
    schedule: Schedule,
    *,
    classes_as_numbered: bool,
) -> int:
    from diffaug.evaluation.search import search

    rounds = counted(search(plan, output, schedule), schedule.rounds, "searching, rounds", err)
    for made in rounds:
        tried = ", ".join(
            f"{strength:g}: {made.accuracy[strength]:.1f}" for strength in made.best()
        )
        out.print(f"{made.seeds} seeds, accuracy by strength, best first: {tried}")
    best, without = made.accuracy[made.best()[0]], made.baseline
    out.print(
        f"{best - without:+.1f} points relative to {plan.settings.kind.without} ({without:.1f})"
    )
    use = [*sources, beside(sources, "augmented"), "--recipe", f"{output}/recipe.yaml"]
    use += ["--classes-as-numbered"] if classes_as_numbered else []
    advise(f"next: {command('augment', *use)}")
    return OK
