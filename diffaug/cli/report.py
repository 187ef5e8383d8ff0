"""`diffaug report`."""

from __future__ import annotations

from diffaug.cli.app import OK, app, out
from diffaug.cli.steps import advise, command
from diffaug.errors import require_extra

__all__ = ["report"]


@app.command
def report(output: str) -> int:
    """Write OUTPUT/report/index.html: images, scores and counts on one page.

    Parameters
    ----------
    output
        folder or URL of a job's output, or folder of a finished evaluation
    """
    require_extra("report", "report", "jinja2", "matplotlib", "pandas")
    from diffaug.report import write_report
    from diffaug.report.evaluation import is_evaluation

    out.print(f"open {write_report(output)}")
    if not is_evaluation(output):
        advise(f"next: {command('verify', output, '--replay', '5')}")
    return OK
