"""OpenLineage events of a run: what it reads, what it writes and how it ended.

Off unless OPENLINEAGE_URL names a receiver (<https://openlineage.io>). Beside the datasets, only
facets of the standard are sent: the recipe is the run's execution parameters, and the OUTPUT's
schema is its manifest's. OUTPUT itself states all of this better. So an error here is a warning.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from prefect import get_run_logger
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run

from diffaug import ConfigError, Summary
from diffaug.errors import require_extra
from diffaug.manifest.columns import columns_of
from diffaug.output.run import Run
from diffaug.storage import public_url
from diffaug.storage.find import filesystem, on_this_machine
from diffaug.version import __version__

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient

__all__ = ["Lineage", "dataset_of"]

NAMESPACE = "diffaug"
"""The namespace of jobs, unless OPENLINEAGE_NAMESPACE gives another."""

PRODUCER = "https://github.com/diffaug/diffaug"


class Lineage:
    """A block in which a job's shards are made: an event at its start and one at its end.

    The end is COMPLETE; FAIL where `failure` is set or the block raises; ABORT where it is
    interrupted.

    Args:
        job: the name of the flow.
        run: the frozen plan.
        output: its OUTPUT.

    Attributes:
        summary: what there is of the OUTPUT at the end, for the event to count.
        failure: why the run failed, if it did.
    """

    def __init__(self, job: str, run: Run, output: str) -> None:
        self._job, self._run, self._output = job, run, output
        self.summary: Summary | None = None
        self.failure: str | None = None
        self._client = _client()

    def __enter__(self) -> Self:
        self._emit("START")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt | TerminationSignal):
            self._emit("ABORT")
        elif error is not None or self.failure is not None:
            self._emit("FAIL", self.failure or f"{type(error).__name__}: {error}")
        else:
            self._emit("COMPLETE")

    def _emit(self, state: str, failure: str | None = None) -> None:
        if self._client is None:
            return
        try:
            self._client.emit(self._event(state, failure))
        except Exception as error:  # whatever a receiver or its client does, the work matters more
            get_run_logger().warning("no OpenLineage event %s: %s", state, error)

    def _event(self, state: str, failure: str | None) -> Any:
        from openlineage.client.event_v2 import InputDataset, Job, RunEvent, RunState
        from openlineage.client.event_v2 import Run as RunOfEvent
        from openlineage.client.facet_v2 import (
            error_message_run,
            execution_parameters_run,
            job_type_job,
            processing_engine_run,
        )

        recipe = self._run.recipe.model_dump(mode="json", exclude_none=True)
        given = {"recipe_digest": self._run.recipe_digest, "model_digest": self._run.model.digest}
        given |= {f"recipe.{name}": value for name, value in recipe.items()}
        facets: dict[str, Any] = {
            "executionParameters": execution_parameters_run.ExecutionParametersRunFacet(
                [
                    execution_parameters_run.ExecutionParameter(key=name, value=_written(value))
                    for name, value in given.items()
                ]
            ),
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
                version=__version__, name="diffaug"
            ),
        }
        if failure is not None:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(failure, "Python")
        kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="PREFECT")
        folders = sorted({shard.url.rpartition("/")[0] for shard in self._run.sources})
        return RunEvent(
            eventType=RunState[state],
            eventTime=datetime.now(UTC).isoformat(),
            run=RunOfEvent(runId=str(flow_run.id), facets=facets),
            job=Job(
                os.environ.get("OPENLINEAGE_NAMESPACE", NAMESPACE),
                self._job,
                facets={"jobType": kind},
            ),
            inputs=[InputDataset(*dataset_of(folder)) for folder in folders],
            outputs=[self._made()],
            producer=PRODUCER,
        )

    def _made(self) -> Any:
        """OUTPUT: a dataset whose rows are those of its manifest."""
        from openlineage.client.event_v2 import OutputDataset
        from openlineage.client.facet_v2 import output_statistics_output_dataset, schema_dataset

        columns = columns_of(self._run.recipe.adds_columns)
        schema = schema_dataset.SchemaDatasetFacet(
            [
                schema_dataset.SchemaDatasetFacetFields(name, type=kind, description=description)
                for name, (kind, description) in columns.items()
            ]
        )
        counted: dict[str, Any] = {}
        if self.summary is not None:
            facet = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
            counted["outputStatistics"] = facet(
                rowCount=self.summary.planned,
                size=self.summary.output_bytes,
                fileCount=self.summary.committed,
            )
        namespace, name = dataset_of(self._output)
        return OutputDataset(namespace, name, facets={"schema": schema}, outputFacets=counted)


def dataset_of(url: str) -> tuple[str, str]:
    """The namespace and name of a folder, without credentials, as OpenLineage names datasets."""
    fs, path = filesystem(url)
    if on_this_machine(fs):
        return "file", path
    parts = urlsplit(public_url(url))
    return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/") or "/"


def _written(value: Any) -> str:
    """A parameter's value as text: JSON, unless it is one."""
    return value if isinstance(value, str) else json.dumps(value)


def _client() -> OpenLineageClient | None:
    """A client of the receiver that the environment names, if it names one."""
    if not os.environ.get("OPENLINEAGE_URL"):
        return None
    try:
        require_extra("OPENLINEAGE_URL", "lineage", "openlineage")
        from openlineage.client import OpenLineageClient

        return OpenLineageClient()
    except (ConfigError, ValueError, RuntimeError) as error:
        get_run_logger().warning("no OpenLineage events: %s", error)
        return None
