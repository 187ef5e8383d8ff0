"""`diffaug report`."""

from __future__ import annotations

from diffaug.cli.app import OK, app, out
from diffaug.errors import require_extra

__all__ = ["report"]


@app.command
def report(output: str) -> int:
    """Write OUTPUT/report/index.html: what came out, to look at.

    Parameters
    ----------
    output
        of a job, a folder or URL; or of an evaluation that is finished
    """
    require_extra("report", "report", "jinja2", "matplotlib", "pandas")
    from diffaug.report import write_report

    out.print(f"look at it: {write_report(output)}", markup=False)
    return OK
