"""`diffaug report`: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader

from diffaug import storage
from diffaug.plan import the_run
from diffaug.report.sheet import contact_sheet
from diffaug.storage.find import filesystem
from diffaug.summary import summarise

__all__ = ["write_report"]

_SOURCES = 24


def write_report(output: str) -> str:
    """Write OUTPUT/report/index.html, and say where it is.

    Raises:
        ConfigError: it is not the output of a job.
        OSError: storage failed.
    """
    run, summary = the_run(output), summarise(output)
    rows = _rows(output)
    with storage.scratch(output) as folder:
        sheet = folder / "sheet.png"
        contact_sheet(output, sheet, sources=_SOURCES, columns=3)
        picture = _embedded(sheet) if sheet.is_file() else None
    template = Environment(loader=PackageLoader("diffaug.report"), autoescape=True).get_template(
        "report.html"
    )
    page = template.render(
        output=storage.public_url(output),
        summary=summary,
        recipe={name: _shown(value) for name, value in run.recipe.model_dump().items()},
        model=run.model,
        scores=_scores(rows),
        reasons=_reasons(rows),
        picture=picture,
    )
    url = storage.join(output, "report", "index.html")
    storage.replace(page.encode(), url)
    return url


def _rows(output: str) -> pd.DataFrame:
    fs, path = filesystem(storage.join(output, "manifest"))
    return pd.read_parquet(path, filesystem=fs)


def _scores(rows: pd.DataFrame) -> list[dict[str, str]]:
    """The medians of all scores, a row a strength."""
    made = rows[rows["status"] != "failed"]
    names = [str(name) for name in made if str(name).startswith("score_")]
    strengths = made["strength"].round(1)  # a range has one for each image
    return [
        {"strength": f"{strength:g}", "images": f"{len(group):,}"}
        | {name: f"{group[name].median():.3g}" for name in names}
        for strength, group in made.groupby(strengths)
    ]


def _reasons(rows: pd.DataFrame) -> list[tuple[str, str, int, str]]:
    """Why images are not there: verdict, code, how many, and the reason of the first."""
    missing = rows[rows["status"] != "ok"]
    return [
        (str(status), str(code), len(group), str(group["reason"].iloc[0]))
        for (status, code), group in missing.groupby(["status", "reason_code"])
    ]


def _embedded(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
