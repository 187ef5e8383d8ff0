"""Write the column dictionary in manifests/README.md from the schema: run after changing it."""

from pathlib import Path

from diffaug.manifest import COLUMNS, SCHEMA_VERSION

README = Path(__file__).with_name("README.md")

HEAD = f"""\
# The manifest, version {SCHEMA_VERSION}

One row for every planned image, whatever became of it. `OUTPUT/manifest/<stem>.parquet` is one part
a source shard; its key-value metadata holds, as JSON, `diffaug.report` (the shard report: counts,
times, host), `diffaug.recipe` (the whole recipe) and `diffaug.environment`. Written from
`diffaug/manifest.py` by `write_readme.py`. The folder `datasets/` describes the data sets that
were packed into shards for diffaug's own models, as `diffaug pack` wrote it beside the shards.

| column | type | what it says |
| --- | --- | --- |
"""


def dictionary() -> str:
    """The whole text of README.md."""
    rows = (f"| `{name}` | {kind} | {text} |\n" for name, (kind, text) in COLUMNS.items())
    return HEAD + "".join(rows)


if __name__ == "__main__":
    README.write_text(dictionary(), encoding="utf-8")
