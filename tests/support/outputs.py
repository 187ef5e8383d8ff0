"""OUTPUTs made by hand, of layouts and rows that a test wants, without a model."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from diffaug.execution import Execution
from diffaug.output.run import ModelId, Run
from diffaug.recipe import Recipe
from tests.support.hostile import Files, write_files

RECIPE = {"image_key": ["jpg", "png"], "label_key": "cls", "mask_key": None, "max_pixels": 1 << 20}


def write_output(folder: Path, **recipe: Any) -> Path:
    """An OUTPUT without a shard; the recipe has these fields further or otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(
        recipe=Recipe.of(RECIPE | recipe),
        recipe_digest="0" * 64,
        model=ModelId(name="none", revision=None, digest="0" * 64),
        noise="none",
        execution=Execution(),
        device_class="cpu/none",
        versions={},
        columns={},
        judges={},
        sources=(),
    )
    (folder / "run.json").write_text(run.model_dump_json())
    return folder


def write_shard(
    folder: Path, stem: str, tars: Mapping[str, Files], rows: list[dict[str, Any]], **options: Any
) -> None:
    """Tars by their folder (`shards`, `rejects`), and a part whose rows name members by tar.

    A row gives `tar` and `output_member`; place and size are filled in as they are in the tar.
    """
    places: dict[tuple[str, str], dict[str, Any]] = {}
    for name, files in tars.items():
        path = write_files(folder / name / f"{stem}-0123abcd.tar", files)
        with tarfile.open(path) as tar:
            for info in tar:
                places[name, info.name] = {
                    "output_shard": f"{name}/{path.name}",
                    "output_offset": info.offset_data,
                    "output_bytes": info.size,
                }
    nothing = {"output_shard": None, "output_offset": None, "output_bytes": None}
    whole = [
        {"source_shard": stem, "status": "ok", "strength": 0.4, "label": 3, "label_text": None}
        | places.get((row["tar"], row["output_member"]), nothing)
        | {name: value for name, value in row.items() if name != "tar"}
        for row in rows
    ]
    frame = pd.DataFrame(whole)
    for name in ("copy", "label", "output_offset", "output_bytes"):
        frame[name] = frame[name].astype("Int64")
    (folder / "manifest").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pandas(frame), folder / f"manifest/{stem}.parquet", **options)


class Counted(io.FileIO):
    """A file that counts the bytes read of it."""

    total = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size if size is not None else -1) or b""
        Counted.total += len(data)
        return data

    def readall(self) -> bytes:
        return self.read(-1)

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        Counted.total += count or 0
        return count


def multiply(output: Path, times: int) -> None:
    """Have the one part of an output say all it says many times, of sources by other keys."""
    (path,) = (output / "manifest").glob("*.parquet")
    part = pq.read_table(path)
    many = pa.concat_tables([part] * times)
    keys = pa.array(
        [f"{key}-{n // len(part)}" for n, key in enumerate(many["source_key"].to_pylist())]
    )
    many = many.set_column(many.schema.get_field_index("source_key"), "source_key", keys)
    metadata = dict(part.schema.metadata)
    report = json.loads(metadata[b"diffaug.report"])
    report |= {name: report[name] * times for name in ("planned", "ok", "filtered", "failed")}
    metadata[b"diffaug.report"] = json.dumps(report).encode()
    pq.write_table(many.replace_schema_metadata(metadata), path)
