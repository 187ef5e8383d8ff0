"""`diffaug doctor`."""

from __future__ import annotations

from diffaug.cli.app import DIFFERS, OK, app, out

__all__ = ["doctor"]

_SIGNS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


@app.command
def doctor(*urls: str) -> int:
    """Look at this machine: versions, devices, models, storage, Prefect's server; say what to mend.

    Exit 1 if something is wrong.

    Parameters
    ----------
    urls
        places to try too: a folder that a small file is written into, read back from and removed
        from, or a file to read
    """
    from diffaug.doctor import examine

    wrong = 0
    for finding in examine(list(urls)):
        wrong += finding.state == "wrong"
        out.print(f"{_SIGNS[finding.state]}  {finding.what}: {finding.said}", markup=False)
        if finding.cure:
            out.print(f"       {finding.cure}", markup=False)
    out.print("nothing is wrong" if not wrong else f"{wrong} wrong")
    return DIFFERS if wrong else OK
