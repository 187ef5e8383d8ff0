"""Whole jobs on small shards, and readers of what they leave that owe nothing to diffaug."""

from __future__ import annotations

import hashlib
import io
import tarfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
import webdataset as wds
from numpy.typing import NDArray
from PIL import Image

import diffaug
from diffaug.audit.verify import rest, verify_shards
from diffaug.manifest.part import Part, Row, read_metadata
from diffaug.output.run import Run, the_run

BATCH = 8
GREY = "fashion-mnist-32"
"""The small model of greys, which the fixtures' pictures are like."""

FIELDS: dict[str, Any] = {"model": GREY, "sampler": "one-step", "strength": 0.4, "steps": 20}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """As if this machine had so many cores, for torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


WHO = ["source_shard", "source_key", "copy"]


def planned(sources: Iterable[str | Path], output: str | Path, **fields: Any) -> Run:
    """A frozen job; of the small model of greys, one-step at strength 0.4 and a batch of 8, unless
    the fields say otherwise."""
    batch_size, dtype = fields.pop("batch_size", BATCH), fields.pop("dtype", None)
    recipe = diffaug.Recipe(**(FIELDS | fields))
    run = diffaug.plan_run(
        [str(url) for url in sources], str(output), recipe, batch_size=batch_size, dtype=dtype
    )
    return diffaug.freeze(run, str(output))


def augmented(sources: Iterable[str | Path], output: str | Path, **fields: Any) -> pd.DataFrame:
    """Run a whole job here, and return its manifest."""
    run = planned(sources, output, **fields)
    list(diffaug.augment_shards(run.sources, str(output), run=run))
    diffaug.finish(run, str(output))
    return manifest(output)


def manifest(output: str | Path) -> pd.DataFrame:
    """The rows as pandas reads them, in an order of their own."""
    return by_identity(pd.read_parquet(f"{output}/manifest"))


def by_identity(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(WHO, kind="stable").reset_index(drop=True)


def tars(output: Path) -> dict[str, bytes]:
    """Name and bytes of every tar a reader would find."""
    return {path.name: path.read_bytes() for path in sorted(output.glob("shards/*"))}


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Every path below a folder, dot names too, with its time and what is in it."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def members(path: Path) -> dict[str, bytes]:
    """What Python's tarfile finds in a tar, in order."""
    found: dict[str, bytes] = {}
    with tarfile.open(path) as tar:
        for info in tar:
            handle = tar.extractfile(info)
            found[info.name] = b"" if handle is None else handle.read()
    return found


def webdataset(path: Path) -> list[dict[str, Any]]:
    """What webdataset finds in a tar, undecoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        return list(wds.WebDataset(str(path), shardshuffle=False))


def pixels(data: bytes) -> NDArray[np.uint8]:
    """The pixels of an image file, as Pillow decodes them."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def output_bytes(output: Path, row: Any) -> bytes:
    """The bytes a row points at, cut out of the tar by nothing but its offset and length."""
    raw = Path(output, row.output_shard).read_bytes()
    return raw[row.output_offset : row.output_offset + row.output_bytes]


def read_rows(path: Path) -> list[Row]:
    """The rows of a manifest part, as pyarrow reads them."""
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def part(output: Path, stem: str = "s0") -> tuple[list[Row], dict[str, Any]]:
    """The rows and the metadata of one manifest part."""
    path = output / f"manifest/{stem}.parquet"
    return read_rows(path), read_metadata(path)


def with_versions(metadata: dict[str, Any], **versions: str) -> dict[str, Any]:
    """A part's metadata, as if written where these versions were."""
    environment = metadata["environment"]
    return metadata | {
        "environment": environment | {"versions": environment["versions"] | versions}
    }


def rewrite(output: Path, stem: str, versions: dict[str, str], **columns: Any) -> None:
    """Write a part anew, whole, as if it had been made elsewhere."""
    rows, metadata = part(output, stem)
    metadata = with_versions(metadata, **versions)
    path = output / f"manifest/{stem}.parquet"
    written = Part(output / ".spool")
    for row in rows:
        written.add(row | columns)
    said = {name: metadata[name] for name in ("report", "recipe", "environment")}
    written.write(path, rows[0]["output_shard"], said)
    written.close()


def differences(output: Path) -> list[str]:
    """Everything in which an OUTPUT is not as its manifest says."""
    run = the_run(str(output))
    checks = verify_shards(str(output), run.sources)
    found = [difference for checked in checks for difference in checked.differences]
    return [str(difference) for difference in (*found, *rest(str(output), run))]
