"""`diffaug report`: one self-contained HTML file."""

from __future__ import annotations

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.manifest.columns import PICTURE_SCORES
from diffaug.output.layout import Output
from diffaug.output.run import Run, the_run
from diffaug.output.summary import Summary, summarise
from diffaug.recipe import Recipe
from diffaug.report.cards import Cards
from diffaug.report.charts import score_chart
from diffaug.report.evaluation import evaluation_page, is_evaluation
from diffaug.report.render import render
from diffaug.report.rows import Rows

__all__ = ["write_report"]

_SOURCES, _COPIES = 40, 8
_EXTREMES, _FILTERED, _FAILED, _CLASSES = 8, 24, 50, 50


def write_report(output: str) -> str:
    """Write OUTPUT/report/index.html, and return its URL.

    Args:
        output: OUTPUT of a job, or of a finished evaluation.

    Raises:
        ConfigError: it is neither, or no shard is committed yet.
        OSError: storage failed.
    """
    page = evaluation_page(output) if is_evaluation(output) else _job_page(output)
    url = Output(output).report("index.html")
    storage.replace(page.encode(), url)
    return url


def _job_page(output: str) -> str:
    """The page of a job. It counts all rows, and shows a sample of the images of a large output."""
    run, summary = the_run(output), summarise(output)
    if not summary.committed:
        raise ConfigError(
            f"{storage.public_url(output)}: no shard is committed yet, so there is nothing to show"
        )
    rows = Rows(output)
    groups = rows.sources(_SOURCES, _COPIES)
    things = "texts" if run.recipe.medium == "text" else "images"
    scores = [one for one in rows.scores if things == "images" or one not in PICTURE_SCORES]
    extremes = {score: rows.extremes(score, _EXTREMES) for score in scores}
    filtered, failed = rows.of_status("filtered", _FILTERED), rows.of_status("failed", _FAILED)
    places = [place for group in groups for place in group] + filtered + failed
    places += [place for ends in extremes.values() for end in ends for place in end]
    cards = Cards(rows.whole(places), output, run.recipe)
    bounds, classes = run.recipe.filtering().bounds, rows.classes()
    return render(
        "report.html",
        things=things,
        output=storage.public_url(output),
        tiles=_tiles(run, summary, things),
        losses=summary.losses,
        asked=_asked(run),
        recipe=_fields(run.recipe),
        strips=[cards.strip(group) for group in groups],
        all_sources=rows.count_sources(),
        scores=[
            {
                "name": score,
                "chart": score_chart(
                    rows.frame, score, [b for b in bounds if b.score == score], things
                ),
                "lowest": cards.of(lowest),
                "highest": cards.of(highest),
            }
            for score, (lowest, highest) in extremes.items()
        ],
        filtered={
            "count": summary.filtered,
            "why": rows.reasons("filtered"),
            "cards": cards.of(filtered),
        },
        failed={"count": summary.failed, "why": rows.reasons("failed"), "cards": cards.of(failed)},
        classes=classes.head(_CLASSES),
        all_classes=len(classes),
        details=cards.details() | {"things": things},
    )


def _tiles(run: Run, summary: Summary, things: str) -> list[tuple[str, str]]:
    """The main numbers, each with its caption."""
    rate = summary.planned / summary.seconds if summary.seconds else 0.0
    return [
        (f"{summary.ok:,}", f"made, of {summary.planned:,} planned"),
        (f"{summary.filtered:,}", "filtered"),
        (f"{summary.failed:,}", "failed"),
        (f"{summary.committed:,} of {summary.shards:,}", "shards committed"),
        (f"{rate:,.1f}", f"{things} per second of work, on {run.device_class}"),
        (_time(summary.seconds), "of work"),
        (f"{(summary.output_bytes + summary.rejects_bytes) / 1e6:,.1f} MB", f"of {things}"),
    ]


def _time(seconds: float) -> str:
    """A duration in at most two units."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _asked(run: Run) -> str:
    """The recipe as a sentence."""
    recipe = run.recipe
    copies = "one copy" if recipe.copies == 1 else f"{recipe.copies} copies"
    whose = f"each {recipe.medium or 'image'}"
    whose += "" if recipe.balance == "none" else ", more of rarer classes"
    there, back = (
        ("masked", "predicted back") if recipe.medium == "text" else ("noised", "denoised")
    )
    text = f"{copies} of {whose}, {there} to strength {_shown(recipe.strength)} "
    text += f"and {back} with {recipe.sampler}"
    if recipe.sampler != "one-step":
        text += f" in {recipe.steps} steps"
    given = "conditioned on the class" if recipe.condition == "label" else "without a class"
    return f"{text} by the model {run.model.name}, {given}."


def _fields(recipe: Recipe) -> list[tuple[str, str, bool]]:
    """Name and value of each field, and whether it differs from the default; those come first."""
    defaults = {name: field.default for name, field in type(recipe).model_fields.items()}
    values = {name: getattr(recipe, name) for name in defaults}
    fields = [(name, _shown(value), value != defaults[name]) for name, value in values.items()]
    return sorted(fields, key=lambda field: not field[2])


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
