"""`diffaug doctor`."""

from __future__ import annotations

from diffaug.cli.app import DIFFERS, OK, app, out
from diffaug.cli.steps import advise

__all__ = ["doctor"]

_SIGNS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


@app.command
def doctor(*urls: str) -> int:
    """Check versions, devices, models, storage and Prefect's server; print what to fix.

    Exit 1 if something is wrong.

    Parameters
    ----------
    urls
        places to test too: a folder, in which a small file is written, read back and removed, or a
        file to read
    """
    from diffaug.doctor import examine

    wrong = 0
    for finding in examine(list(urls)):
        wrong += finding.state == "wrong"
        out.print(f"{_SIGNS[finding.state]}  {finding.what}: {finding.found}")
        if finding.cure:
            out.print(f"       {finding.cure}")
    out.print("nothing is wrong" if not wrong else f"{wrong} wrong")
    if wrong:
        return DIFFERS
    advise("next: diffaug try FOLDER")
    return OK
