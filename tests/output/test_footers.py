"""The reports that a large output keeps next to its parts, so that footers are not read again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from diffaug.job.job import Job
from diffaug.output import footers
from diffaug.output.footers import add_report
from diffaug.output.run import the_run
from diffaug.output.survey import Survey, survey
from diffaug.version import __version__
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import GREY, augmented

SHARDS = 3


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output that counts as a large one, made by a job that did not know."""
    sources = [write_samples(tmp_path / f"{name}.tar", fashion(1)) for name in "abc"]
    augmented(sources, tmp_path / "out", model=GREY, sampler="one-step")
    monkeypatch.setattr(footers, "MANY", SHARDS)
    return tmp_path / "out"


def kept(output: Path) -> Path:
    return output / "manifest/.reports.jsonl"


def found(output: Path) -> Survey:
    return survey(the_run(str(output)).sources, str(output))


def change(output: Path, alter: Callable[[str], str]) -> None:
    """Alter what was kept, to see whether it is what counts."""
    kept(output).write_text(alter(kept(output).read_text()))


def test_what_was_read_once_is_kept(output: Path) -> None:
    assert not kept(output).exists()
    first = found(output)
    change(output, lambda text: text.replace('"ok": 1', '"ok": 77'))
    again = found(output)
    assert [report.ok for report in again.committed.values()] == [77] * SHARDS
    assert again.versions == first.versions
    for part in output.glob("manifest/*.parquet"):
        os.utime(part, (1, 1))  # another file, as far as can be told
    assert found(output).committed == first.committed
    assert found(output).committed == first.committed  # the later line of a stem counts


def test_few_parts_are_read(tmp_path: Path) -> None:
    source = write_samples(tmp_path / "a.tar", fashion(1))
    augmented([source], tmp_path / "out", model=GREY, sampler="one-step")
    found(tmp_path / "out")
    assert not kept(tmp_path / "out").exists()


@pytest.mark.parametrize(
    "broken",
    [
        "{",
        '"a"\t[1',
        '"a"\t[1]\t{}\n',
        '"a"\t1\t2\t3\n',
        "[]\t[]\t[]\n",
        '"a"\t[1]\t[2]\n',
        "\xff\t\n",
    ],
)
def test_lines_that_are_none_do_no_harm(broken: str, output: Path) -> None:
    expected = found(output)
    whole = kept(output).read_bytes()
    for text in (broken.encode("latin-1"), whole + broken.encode("latin-1")):
        kept(output).write_bytes(text)
        assert found(output) == expected
        assert found(output) == expected  # what was read is kept on a line of its own


def test_a_report_of_another_diffaug_is_read_again(output: Path) -> None:
    expected = found(output)
    change(output, lambda text: text.replace('"planned": 1', '"planned": "all"'))
    assert found(output) == expected


def test_a_report_of_another_source_is_read_again(output: Path) -> None:
    expected = found(output)
    change(output, lambda text: text.replace("/a.tar", "/z.tar"))
    assert found(output) == expected


def test_where_nothing_can_be_kept_everything_is_read(output: Path) -> None:
    kept(output).mkdir()
    assert len(found(output).committed) == SHARDS


def test_a_job_keeps_what_it_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footers, "MANY", SHARDS)
    sources = [str(write_samples(tmp_path / f"{name}.tar", fashion(1))) for name in "abc"]
    job = Job.plan(sources, str(tmp_path / "out"), {"model": GREY, "sampler": "one-step"})
    assert len(list(job.run())) == SHARDS
    lines = kept(tmp_path / "out").read_text().split()
    job.finish()
    assert kept(tmp_path / "out").read_text().split() == lines  # and no footer is read for it
    change(tmp_path / "out", lambda text: text.replace('"ok": 1', '"ok": 77'))
    assert [report.ok for report in found(tmp_path / "out").committed.values()] == [77] * SHARDS


def test_a_part_that_is_gone_is_not_kept(output: Path) -> None:
    expected = found(output)
    add_report(str(output), "no-such-part", {"source": "x"})
    assert found(output) == expected


def test_lines_of_another_diffaug_do_not_count(output: Path) -> None:
    expected = found(output)
    change(output, lambda text: text.replace('"ok": 1', '"ok": 77').replace(__version__, "9.9"))
    assert found(output) == expected


def test_the_file_does_not_grow_with_every_copy_of_the_output(output: Path) -> None:
    found(output)
    size = kept(output).stat().st_size
    for _ in range(3):
        for part in output.glob("manifest/*.parquet"):
            part.write_bytes(part.read_bytes())
        found(output)
    assert kept(output).stat().st_size < 1.1 * size
