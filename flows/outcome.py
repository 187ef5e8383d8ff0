"""What Prefect's UI shows of a finished output: its assets, a summary with pictures, the report.

All of it repeats what OUTPUT itself states better. So an error here is a warning, not a failure.
"""

from __future__ import annotations

import base64
import io
import re
import shlex
import tempfile
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.assets import Asset, add_asset_metadata, materialize

from diffaug import ConfigError, Summary
from diffaug.output.markdown import code, text
from diffaug.output.run import Run
from diffaug.report import contact_sheet, write_report
from diffaug.storage import public_url
from diffaug.storage.find import filesystem, on_this_machine

__all__ = ["asset", "show_outcome"]

SUMMARY = "augment-summary"

MAX_ROWS = 1_000_000
"""No pictures are chosen from a larger output: that would read some columns of all its rows."""

SOURCES, WIDTH = 8, 1000
"""Sources in the summary's picture, and its maximum width in pixels."""


def asset(url: str) -> Asset:
    """A folder or file as Prefect names it: its key is a URI without credentials."""
    fs, path = filesystem(url)
    uri = f"file://{path}" if on_this_machine(fs) else public_url(url)
    return Asset(key=re.sub(r"[^\w./:~+@=,;!$()*-]", "_", uri)[:512])


def show_outcome(run: Run, output: str, summary: Summary) -> None:
    """Publish the summary; of a complete OUTPUT also the asset, its pictures and the report.

    That happens in a task that materializes OUTPUT from its source shards' folders.
    """
    public = public_url(output)
    if not summary.complete:
        create_markdown_artifact(_markdown(summary, public, None), key=SUMMARY)
        return
    made, counts = asset(output), _counts(summary)
    folders = sorted({shard.url.rpartition("/")[0] for shard in run.sources})

    @materialize(
        made,
        by="diffaug",
        asset_deps=list(map(asset, folders)),
        task_run_name="publish the outcome",
    )
    def publish() -> None:
        add_asset_metadata(made, counts | {"recipe": run.recipe_digest, "model": run.model.name})
        sheet = None
        if summary.planned <= MAX_ROWS:
            try:
                sheet = _sheet(output)
                _link(write_report(output))
            except (ConfigError, OSError) as error:
                get_run_logger().warning("no pictures and no report: %s", error)
        create_markdown_artifact(_markdown(summary, public, sheet), key=SUMMARY)

    publish()


def _counts(summary: Summary) -> dict[str, int]:
    names = ("planned", "ok", "filtered", "failed", "shards", "output_bytes")
    return {name: getattr(summary, name) for name in names}


def _sheet(output: str) -> str | None:
    """The contact sheet as a data URL, small enough for an artifact."""
    with tempfile.TemporaryDirectory(prefix="diffaug-sheet-") as folder:
        path = Path(folder) / "sheet.png"
        if not contact_sheet(output, path, sources=SOURCES):
            return None
        with Image.open(path) as sheet:
            sheet.thumbnail((WIDTH, 10 * WIDTH))
            data = io.BytesIO()
            sheet.save(data, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"


def _link(report: str) -> None:
    fs, path = filesystem(report)
    link = Path(path).as_uri() if on_this_machine(fs) else quote(public_url(report), safe="/:@%")
    create_link_artifact(link, key="augment-report", link_text="the report, a page to look at")


def _markdown(summary: Summary, output: str, sheet: str | None) -> str:
    others = ""
    if summary.passed_over:
        others = f"\nPassed over, since they are no samples: {summary.passed_over} keys.\n"
    others += "".join(f"\n{loss}.\n" for loss in summary.losses)
    picture = f"\n![some sources next to their augmentations]({sheet})\n" if sheet else ""
    manifest, report = f"{output}/manifest", shlex.join(["diffaug", "report", output])
    return f"""\
# {text(output)}

| planned | made | filtered | failed | shards committed |
| ---: | ---: | ---: | ---: | ---: |
| {summary.planned} | {summary.ok} | {summary.filtered} | {summary.failed} \
| {summary.committed} of {summary.shards} |
{others}{picture}
{summary.output_bytes:,} bytes of images, {summary.rejects_bytes:,} of rejects, and the lineage \
of each in {code(f"pandas.read_parquet({manifest!r})")}. The report: {code(report)}.
"""
