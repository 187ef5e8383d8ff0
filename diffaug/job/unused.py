"""What a new job would leave unused without a word: refused, since its user expects it to count.

A recipe may hold it all the same: a loader moves the copy by the epoch and so comes to every value
of a list, and a file may serve several commands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from diffaug.errors import ConfigError
from diffaug.output.layout import LINEAGE_MEMBER
from diffaug.output.run import read_run
from diffaug.recipe import Recipe
from diffaug.recipe.strength import highest

__all__ = ["refuse_unused"]


def refuse_unused(asked: Recipe, planned: Recipe, output: str, flags: Collection[str] = ()) -> None:
    """Refuse values that no image of a new job would be made with; a job that has begun goes on.

    Args:
        asked: the recipe as the user gave it.
        planned: the recipe as it is planned, with what the model's card suggests.
        output: OUTPUT of the job.
        flags: the fields that the user gave for this job alone.

    Raises:
        ConfigError: a value is unused; the text names the field.
    """
    found = next(_unused(asked, planned, flags), None)
    if found is not None and read_run(output) is None:
        raise ConfigError(found)


def _unused(asked: Recipe, planned: Recipe, flags: Collection[str]) -> Iterator[str]:
    copies = asked.copies if asked.balance == "none" else asked.max_copies
    for field, values in (("strength", asked.strength), ("prompt", asked.prompt)):
        if isinstance(values, tuple) and len(values) > copies:
            yield (
                f"{field}: {len(values)} are given and cycled over copies, of which there "
                f"{'is 1' if copies == 1 else f'are {copies}'}: the last "
                f"{len(values) - copies} would not be used; raise copies to {len(values)}, "
                "or leave them out"
            )
    most = highest(planned.strength)
    calls = 1 if planned.sampler == "one-step" else round(most * planned.steps)
    if "guidance_every" in flags and planned.guidance_every > 1 and calls <= 1:
        yield (
            "guidance_every does nothing with one call: raise steps, choose another sampler, or "
            "leave it out"
        )
    if "eta" in flags and planned.eta and calls <= 1:
        yield (
            f"eta does nothing with one call, which strength {most:g} of {planned.steps} steps "
            "makes: raise steps or leave it out"
        )
    if "embeddings" in flags and not (asked.prompt or asked.negative_prompt):
        yield "embeddings do nothing without a prompt that names their tokens: give one"
    if planned.layout == "each" and planned.format in planned.carry:
        yield (
            f"carry: {planned.format} is the name of the results (format={planned.format}), and a "
            "sample has a name once: choose another format, or name the members to carry otherwise"
            f" (a.mask.{planned.format})"
        )
    if planned.layout == "each" and LINEAGE_MEMBER in planned.carry:
        yield (
            f"carry: every result has a {LINEAGE_MEMBER} of its own, and a sample has a name once: "
            "leave it out, or rename the members of the source"
        )
    low, _ = map(float, planned.guidance_interval.split(":"))
    if "guidance_interval" in flags and low > most:
        yield (
            f"guidance_interval: it begins at {low:g}, and no image is noised further than to "
            f"{most:g}, its strength: guidance would never act; lower it"
        )
