"""The flow `verify-manifest`: does an output match its manifest, and can it be made again?

A task checks a group of shards and makes its share of the picked images again. It receives their
positions in their parts, and returns counts and its first few differences.
"""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import BaseModel, Field

from diffaug import ConfigError, storage
from diffaug.audit.replay import replay_parts
from diffaug.audit.verdicts import Verdicts
from diffaug.audit.verify import rest, verify_shards
from diffaug.output.markdown import code, text
from diffaug.output.run import the_run
from diffaug.output.select import image_counts, picked_rows, spread
from flows.groups import RETRIES, Count, follow, groups_of, names_of, run_name
from flows.paths import require_absolute
from flows.runners import Local

SHOWN = 20
"""How many differences a task returns and the summary shows; all are counted."""

Number = Annotated[int, Field(ge=0)]


class Checked(BaseModel):
    """Results for some shards: how many were checked, what differs, what was made again."""

    shards: int = 0
    differences: int = 0
    first: list[str] = []
    equal: int = 0
    near: int = 0

    def found(self, difference: object) -> None:
        """Count a difference, and keep it if it is one of the first."""
        self.differences += 1
        self.first = [*self.first, str(difference)][:SHOWN]

    def take_in(self, other: Checked) -> None:
        """Add the counts of another, and append its differences."""
        self.first = [*self.first, *other.first][:SHOWN]
        for name in ("shards", "differences", "equal", "near"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@task(task_run_name="{names}", **RETRIES)
def verify_group(
    output: str, first: int, last: int, names: str, picks: dict[str, list[int]]
) -> Checked:
    """Check the planned shards `first` to `last`, inclusive, and make their picks again."""
    checked = Checked()
    for shard in verify_shards(output, the_run(output).sources[first : last + 1]):
        checked.shards += 1
        for difference in shard.differences:
            checked.found(difference)
        if not shard.has_rows:
            picks = {stem: places for stem, places in picks.items() if stem != shard.stem}
    tally = Verdicts()
    for replayed in replay_parts(picked_rows(output, picks), output):
        tally.add(replayed)
        if replayed.verdict == "differs":
            checked.found(replayed)
    get_run_logger().info("%s: %s", names, tally)
    return checked.model_copy(update={"equal": tally.equal, "near": tally.near})


@flow(name="verify-manifest", flow_run_name=run_name("verify", "output"))
def verify_manifest(
    output: str, replay: Number = 0, shards_per_task: Count | None = None
) -> dict[str, int] | State[Any]:
    """Check an output against its manifest; the run fails if anything differs.

    Args:
        output: folder or URL of an output.
        replay: how many images to make again from their manifest parts alone, spread evenly over
            the output, and compare.
        shards_per_task: shards in one task; by default enough for at most 2,000 tasks.
    """
    try:
        require_absolute(output=output)
        run = the_run(output)
    except ConfigError as error:
        return Failed(message=str(error))
    stems, public = [shard.stem for shard in run.sources], storage.public_url(output)
    picks = spread(image_counts(output, stems), replay) if replay else {}
    calls = []
    for first, last in groups_of(len(stems), shards_per_task):
        share = {stem: picks[stem] for stem in stems[first : last + 1] if stem in picks}
        names = names_of(run, first, last)
        group = {"output": output, "first": first, "last": last, "names": names}
        calls.append(group | {"picks": share})
    checked = Checked()
    with closing(Local().run(verify_group, calls)) as states:
        for state in follow(states, len(calls), key="verify-progress", description=text(public)):
            if state.is_completed():
                checked.take_in(state.result())
    for difference in rest(output, run):
        checked.found(difference)
    create_markdown_artifact(_markdown(checked, len(stems), public), key="verify-summary")
    if checked.shards < len(stems):
        left = len(stems) - checked.shards
        return Failed(message=f"{left} of {len(stems)} shards could not be checked: run it again")
    if checked.differences:
        return Failed(
            message=f"{checked.differences} differences in {public}, first: {checked.first[0]}"
        )
    return checked.model_dump(exclude={"first"})


def _markdown(checked: Checked, shards: int, output: str) -> str:
    differences = "".join(f"- {code(difference)}\n" for difference in checked.first)
    return f"""\
# {text(output)}

| shards checked | differences | replayed equal | replayed within tolerance, not proven equal |
| ---: | ---: | ---: | ---: |
| {checked.shards} of {shards} | {checked.differences} | {checked.equal} | {checked.near} |

{"The first differences:" if differences else "No difference was found."}

{differences}"""
