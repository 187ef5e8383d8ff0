"""Generate manifests/README.md, the column dictionary, from the schema: run after changing it."""

from pathlib import Path

from diffaug.manifest.columns import ADDED, COLUMNS

README = Path(__file__).with_name("README.md")

HEAD = """\
# The manifest, versions 1 and 2

There is one row for every planned image, whatever happened to it. `OUTPUT/manifest/<stem>.parquet`
is one part, that of a source shard. Its key-value metadata holds, as JSON, `diffaug.report` (the
shard report: counts, times, host), `diffaug.recipe` (the whole recipe), `diffaug.environment` and,
with further judges, `diffaug.judges` (the identity of each). `write_readme.py` generates this page
from `diffaug/manifest/columns.py`.

"""

TABLE = """\
| column | type | description |
| --- | --- | --- |
"""

LAYOUT = """
A filtered row has its scores, and its image is in `rejects/`. If rejects are not kept, shard, key,
member and offset are null, but digests and sizes are not. In the paired layout the `output_key` of
a kept image is its source's key, and its `output_member` is `<key>.aug<copy>.<format>`.

A row that failed because the model's result was not finite (`non_finite`) keeps the columns of its
plan. Parts contain the names and types of the columns; the descriptions are only here.

## Further columns

A job of clips has the first five and `score_flicker`, and a job of texts `medium`, `tokens`,
`output_tokens` and `score_edit`, each beside its like: that is version 2, and jobs of images go on
writing version 1. A job with `to_class` also has `to_label`, after `condition`, and
one whose recipe names judges has their columns, after the other scores.

"""


REST = """
## Versions

Within a version no column is renamed, removed, retyped or given another meaning; only judges and
`to_class` add columns, their own. A job ends with the columns it began with: run.json freezes them.
Anything that would break a reader of the manifest raises the version (`schema_version` in run.json,
`diffaug.schema` in a part's metadata). Every diffaug reads, verifies and replays what earlier
versions wrote, and refuses, in a sentence, what later versions wrote. Read columns by name: their
number may grow with both.

## What else is here

- `golden/`: the result of a job on the first shard of clothes, in float32, without the tars. One
  test makes it again and compares row by row, and another replays some of its rows, so that a
  change which would alter or orphan a manifest is noticed. `write_golden.py` wrote it.
- `datasets/`: the catalogue of data sets that diffaug's own models were trained on, each as
  `diffaug pack` writes it next to shards: origin, licence, classes and sizes.
"""


def dictionary() -> str:
    """The whole text of README.md."""
    further = {name: what for own in ADDED.values() for name, what in own.items()}
    return HEAD + _table(COLUMNS) + LAYOUT + _table(further) + REST


def _table(columns: dict[str, tuple[str, str]]) -> str:
    rows = (f"| `{name}` | {kind} | {text} |\n" for name, (kind, text) in columns.items())
    return TABLE + "".join(rows)


if __name__ == "__main__":
    README.write_text(dictionary(), encoding="utf-8")
