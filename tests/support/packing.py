"""The same six images as every kind of source, and what was packed as others read it."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from diffaug.pack import Outcome, PictureSource, Totals, open_source, pack
from tests.support.hostile import png
from tests.support.jobs import pixels, webdataset

KINDS = ("folder", "csv", "paths", "bytes", "struct", "idx")


def picture(seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> Image.Image:
    """A picture that no other seed gives."""
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def packed(source: str | Path | PictureSource, output: str | Path, **options: Any) -> list[Outcome]:
    """Pack all of a source under the name `set`."""
    opened = open_source(str(source)) if isinstance(source, (str, Path)) else source
    return list(pack(opened, str(output), "set", tally=options.pop("tally", Totals()), **options))


def tars(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob("*.tar"))}


def samples(output: Path) -> list[dict[str, Any]]:
    return [sample for path in sorted(output.glob("*.tar")) for sample in webdataset(path)]


def contents(output: Path) -> list[tuple[bytes, int | None, str | None]]:
    """(image bytes, class, class name) of every sample, as webdataset reads them."""
    found = []
    for sample in samples(output):
        image = next(
            sample[extension] for extension in ("png", "jpg", "gif") if extension in sample
        )
        label, name = sample.get("cls"), sample.get("txt")
        found.append((image, int(label) if label else None, name.decode() if name else None))
    return found


def entry_of(output: Path) -> dict[str, Any]:
    entry = yaml.safe_load((output / "set.yaml").read_text(encoding="utf-8"))
    assert isinstance(entry, dict)
    return entry


# --- the same six images, in every form a source may have

IMAGES = [(png(index), index % 3) for index in range(6)]
NAMES = ("ape", "bee", "cat")
LABELS = [label for _, label in IMAGES]


def as_folder(folder: Path) -> Path:
    for index, (data, label) in enumerate(IMAGES):
        write(folder / f"all/{NAMES[label]}/deeper/{index}.png", data)
    return folder / "all"


def files(folder: Path) -> list[str]:
    return [
        str(write(folder / f"files/{n}.png", data).relative_to(folder))
        for n, (data, _) in enumerate(IMAGES)
    ]


def as_csv(folder: Path) -> Path:
    path = folder / "all.csv"
    pd.DataFrame({"path": files(folder), "label": LABELS}).to_csv(path, index=False)
    return path


def as_paths(folder: Path) -> Path:
    path = folder / "all.parquet"
    pd.DataFrame({"file_name": files(folder), "cls": LABELS}).to_parquet(path)
    return path


def as_bytes(folder: Path) -> Path:
    path = write(folder / "all.parquet", b"")
    pd.DataFrame({"image": [data for data, _ in IMAGES], "label": LABELS}).to_parquet(path)
    return path


def as_struct(folder: Path) -> Path:
    path = write(folder / "all.parquet", b"")
    images = [{"bytes": data, "path": f"{n}.png"} for n, (data, _) in enumerate(IMAGES)]
    pd.DataFrame({"image": images, "label": LABELS}).to_parquet(path)
    return path


def idx(path: Path, array: np.ndarray[Any, Any], magic: int) -> Path:
    header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    return write(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def as_idx(folder: Path, zipped: str = ".gz") -> Path:
    idx(folder / f"all-labels-idx1-ubyte{zipped}", np.array(LABELS), 0x801)
    images = np.stack([pixels(data) for data, _ in IMAGES])
    return idx(folder / f"all-images-idx3-ubyte{zipped}", images, 0x803)


MAKE: dict[str, Callable[[Path], Path]] = {
    "folder": as_folder,
    "csv": as_csv,
    "paths": as_paths,
    "bytes": as_bytes,
    "struct": as_struct,
    "idx": as_idx,
}
