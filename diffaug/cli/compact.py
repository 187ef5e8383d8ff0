"""`diffaug compact`."""

from __future__ import annotations

from diffaug.cli.app import OK, app, err, out
from diffaug.cli.progress import counted
from diffaug.cli.steps import advise

__all__ = ["compact"]


@app.command
def compact(output: str) -> int:
    """Merge the manifest of a finished job into a few large Parquet files, OUTPUT/lineage/.

    The parts in OUTPUT/manifest stay, and remain authoritative. Run it again if the job has grown.

    Parameters
    ----------
    output
        folder or URL of an output
    """
    from diffaug.output.compact import compact as merge
    from diffaug.output.layout import Output
    from diffaug.output.run import the_run

    rows = sum(counted(merge(output), len(the_run(output).sources), "compacting parts", err))
    layout = Output(output)
    files = len(layout.lineage_files())
    out.print(f"{rows} rows in {files} files: {layout.lineage}")
    advise(f"next: pandas.read_parquet({layout.lineage!r}), in Python")
    return OK
