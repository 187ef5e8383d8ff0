"""The report of a checkpoint, of a tiny random one of each family that has a reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from diffaug.errors import ConfigError
from tests.gpu.checkpoint import measured, photographs
from tests.gpu.reference import difference
from tests.support import tiny

# diffusers' schedulers take a list of times the way numpy 1 did
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.numerics
@pytest.mark.parametrize("family", [tiny.stable_diffusion, tiny.stable_diffusion_xl, tiny.dit])
def test_a_report(family: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = family(tmp_path / "model")
    scratch = tmp_path / "scratch"
    found, sheet = measured(folder, photographs(None, 3), scratch, "cpu", {"steps": 4})
    assert found["ok"], found
    assert found["made"] == found["replay"]["equal"] == 3
    assert found["recipe"]["guidance"] > 1
    assert found["difference"]["largest"] < 1e-4
    assert found["peak_memory_mib"]["process"] > 100
    assert sheet.size == (3 * 128, 2 * 128)


def test_a_family_without_a_reference(tmp_path: Path) -> None:
    found = difference(tmp_path, "FluxPipeline", "cpu", [])
    assert found == {"reason": "there is no comparison for FluxPipeline"}


def test_64_photographs_of_the_fixtures_all_differ() -> None:
    found = photographs(None, 64)
    assert len({image.tobytes() for image in found}) == 64
    assert {image.size for image in found} == {(640, 480)}


def test_photographs_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no JPEG"):
        photographs(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("not a photograph")
    for name, level in (("b.JPG", 200), ("a.png", 100), ("c.png", 0)):
        Image.new("L", (8, 6), level).save(tmp_path / name)
    found = photographs(tmp_path, 2)
    assert [image.getpixel((0, 0)) for image in found] == [(100,) * 3, (200,) * 3]
