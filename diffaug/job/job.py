"""`Job`: a whole augmentation, planned, frozen, run and finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffaug.errors import ConfigError
from diffaug.job.augment import augment_shards
from diffaug.job.balance import Shown
from diffaug.job.binding import Binding
from diffaug.job.finish import finish
from diffaug.job.plan import freeze, plan_run
from diffaug.job.portion import WHOLE, Portion
from diffaug.job.redo import shards_to_redo, withdraw
from diffaug.job.writer import Tally
from diffaug.models import Suggestion, suggestion_for
from diffaug.output.run import Run, SourceShard
from diffaug.output.summary import Summary, count
from diffaug.output.survey import ShardReport, Survey, refuse_changed, survey
from diffaug.recipe import Recipe

__all__ = ["Job"]


@dataclass
class Job:
    """A job: planned, then frozen in OUTPUT, run, and finished.

    Example:
        >>> job = Job.plan(["in/{000000..000127}.tar"], "out", Recipe())  # doctest: +SKIP
        >>> for report in job.run():  # doctest: +SKIP
        ...     print(report.stem, report.ok)
        >>> print(job.finish())  # doctest: +SKIP

    Attributes:
        output: folder or URL of its OUTPUT.
        planned: what it does, as run.json has it or is going to have it.
        suggestion: what its recipe takes from the model's card, since the user did not set it.
        redo: done shards whose parts it withdraws, to do them again.
        tally: counts that move while it runs.
        portion: what this process does of it.
        allow_mixed: whether it goes on with a job begun on another kind of machine.
    """

    output: str
    planned: Run
    suggestion: Suggestion
    redo: tuple[SourceShard, ...] = ()
    tally: Tally = field(default_factory=Tally)
    portion: Portion = WHOLE
    allow_mixed: bool = False
    _frozen: bool = field(default=False, init=False, repr=False)
    _surveyed: Survey | None = field(default=None, init=False, repr=False)

    @classmethod
    def plan(
        cls,
        sources: str | list[str],
        output: str,
        recipe: Recipe | Mapping[str, Any],
        *,
        batch_size: int | None = None,
        dtype: str | None = None,
        device: str | None = None,
        allow_mixed: bool = False,
        classes_as_numbered: bool = False,
        redo: Sequence[str] = (),
        portion: Portion = WHOLE,
        counting: Shown | None = None,
    ) -> Job:
        """Plan a job, or the rest of one that `output` already holds; nothing is written.

        Args:
            redo: planned shards to do again, by their sources or stems, though they are done.
            portion: what this process is to do of the job; others do the rest.

        The other arguments are those of `plan_run`.

        Raises:
            ConfigError: a source, the model, the recipe, the output or a shard to do again is not
                what it must be.
            OSError: storage failed.
        """
        recipe = Recipe.taken(recipe)
        if redo and portion != WHOLE:
            raise ConfigError("redo and a part of a job do not go together: leave one of them out")
        run = plan_run(
            sources,
            output,
            recipe,
            batch_size=batch_size,
            dtype=dtype,
            device=device,
            allow_mixed=allow_mixed,
            classes_as_numbered=classes_as_numbered,
            counting=counting,
        )
        suggestion = suggestion_for(recipe, Binding.of_run(run).checkpoint())
        again = shards_to_redo(redo, run, output)
        return cls(output, run, suggestion, again, portion=portion, allow_mixed=allow_mixed)

    def freeze(self) -> Run:
        """Write the plan to OUTPUT/run.json, and withdraw the parts of the shards to do again.

        A job does so once.

        Returns:
            The plan that run.json now holds, with the sources that other jobs added.

        Raises:
            ConfigError: the output cannot be written, or holds another job; or the source of a
                shard that is not done again has changed.
            OSError: storage failed while a part was withdrawn.
        """
        if not self._frozen:
            if self.redo:
                self._survey()  # which refuses before anything is withdrawn
            self.planned = freeze(self.planned, self.output, allow_mixed=self.allow_mixed)
            withdraw(self.redo, self.output)
            self._frozen, self._surveyed = True, None
        return self.planned

    @property
    def committed(self) -> dict[str, ShardReport]:
        """The reports of the shards that are done, and not to do again, by stem.

        Raises:
            ConfigError: one of their sources has changed since, or a part is another job's.
            UncommittedError: a part of the manifest is broken.
        """
        if self._surveyed is None:
            self._surveyed = self._survey()
        return self._surveyed.committed

    def _survey(self) -> Survey:
        again = () if self._frozen else self.redo
        shards = [shard for shard in self.planned.sources if shard not in again]
        found = survey(shards, self.output)
        refuse_changed(found.committed.values())
        return found

    @property
    def missing(self) -> list[SourceShard]:
        """The shards of its portion that are still to do, in the plan's order; errors are those of
        `committed`."""
        done = self.committed
        return [shard for shard in self.shards if shard.stem not in done]

    @property
    def shards(self) -> Sequence[SourceShard]:
        """The shards of its portion, done or not."""
        return self.portion.shards(self.planned.sources)

    def summary(self) -> Summary:
        """Count what is done of its portion; errors are those of `committed`."""
        done, own = self.committed, self.shards
        return count(len(own), [done[shard.stem] for shard in own if shard.stem in done])

    def run(self) -> Iterator[ShardReport]:
        """Augment the missing shards, yielding the report of each once it is committed.

        Raises:
            ConfigError: as `freeze` and `committed` do; or model or judges are not the plan's.
            UncommittedError: some shards could not be read, or a network ran out of memory; run the
                job again for the rest.
            OSError: storage failed while a shard was committed, or a part withdrawn.
        """
        self.freeze()
        missing, committed = self.missing, self.committed  # which this updates as it goes
        reports = augment_shards(missing, self.output, run=self.planned, tally=self.tally)
        for report in reports:
            committed[report.stem] = report
            yield report

    def finish(self) -> Summary:
        """Count the output and, when it is complete, list its tars in OUTPUT/shards.txt.

        Sources that another job added to run.json meanwhile are kept.

        Raises:
            ConfigError: run.json or a part is another job's.
            UncommittedError: a part of the manifest is broken.
            OSError: storage failed.
        """
        return finish(self.planned, self.output, self._surveyed)
