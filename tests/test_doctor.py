"""`diffaug doctor`: what it finds on this machine, and what it says must be mended."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

import diffaug
from diffaug.doctor import PLATFORMS, Finding, examine
from diffaug.execution import device_class
from tests.conftest import ROOT, Cli


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine where Prefect was never set up."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect-home"))


def found(what: str | Path, *urls: Path | str) -> Finding:
    """What is found of one thing; what is looked at after it is left out."""
    return next(one for one in examine(list(map(str, urls))) if one.what == str(what))


def test_this_machine_is_fit(cli: Cli) -> None:
    said = cli("doctor")
    assert said.code == 0, said
    assert said.out.splitlines()[-1] == "nothing is wrong"
    assert f"diffaug: {diffaug.__version__}" in said.out
    assert f"processor: {device_class('cpu')}" in said.out
    for name in ("fashion-mnist-32", "cifar10-32"):
        assert f"model {name}: complete" in said.out
    assert "no server is configured" in said.out


def test_a_folder_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    there, not_there = tmp_path / "there", tmp_path / "not/there"
    there.mkdir()
    for folder in (there, not_there):
        assert found(folder, there, not_there) == Finding(
            str(folder), "a file was written, read and removed"
        )
    assert not list(there.iterdir())
    assert not not_there.parent.exists()


def test_places_that_cannot_be(tmp_path: Path, cli: Cli) -> None:
    """A folder in a file, a kind of store that is not installed, one that is no kind at all."""
    file = tmp_path / "shard.tar"
    file.write_bytes(b"x")
    assert found(file, file).found == "a file that can be read"
    assert found(file / "below", file / "below").state == "wrong"
    assert found("nosuch://bucket", "nosuch://bucket").state == "wrong"
    said = cli("doctor", file / "below")
    assert said.code == 1
    assert f"WRONG  {file / 'below'}: cannot be written to" in said.out
    assert said.out.splitlines()[-1] == "1 wrong"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "http://127.0.0.1:9/other/"])
def test_a_server_that_does_not_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    finding = found(f"Prefect's server at {url.rstrip('/')}")
    assert finding.state == "wrong"
    assert "does not respond" in finding.found
    assert "prefect server start" in finding.cure


def test_an_extra_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffaug import doctor

    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "s3fs" else real(name))
    finding = found("packages of the extra s3")
    assert finding.state == "note"
    assert finding.found == "s3fs is not installed"
    assert finding.cure == "pip install 'diffaug[s3]'"


def test_without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffaug import doctor

    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "prefect" else real(name))
    finding = found("Prefect")
    assert (finding.state, finding.found) == ("note", "not installed")
    assert "pip install 'diffaug[flows]'" in finding.cure


@pytest.mark.parametrize(
    ("system", "machine", "device", "said"),
    [
        ("Linux", "x86_64", "cpu/avx512_bf16", "Linux on x86-64 with AVX512-bf16: tested"),
        ("Linux", "x86_64", "cpu/avx2", "Linux on x86-64 with AVX2: tested in part"),
        ("Linux", "x86_64", "cpu/avx512", "Linux on x86-64 with avx512: never run"),
        ("Linux", "aarch64", "cpu/default", "Linux on aarch64: never run"),
        ("Darwin", "arm64", "cpu/default", "macOS on arm64: never run"),
    ],
)
def test_which_platform_this_is(
    system: str, machine: str, device: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffaug import doctor

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(doctor, "device_class", lambda device_name: device)
    finding = doctor._platform()
    assert finding.found.startswith(said)
    assert finding.state == ("ok" if said.endswith(": tested") else "note")


def test_the_page_of_platforms_has_the_same_rows() -> None:
    page = (ROOT / "docs/platforms.md").read_text(encoding="utf-8")
    states = "tested|tested in part|never run|unsupported"
    rows = re.findall(rf"^\| (.*?) +\| ({states}) +\|", page, flags=re.MULTILINE)
    assert rows == list(PLATFORMS.items())


def test_a_package_of_the_wrong_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffaug import doctor

    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "1.26" if name == "numpy" else real(name))
    finding = found("packages")
    assert finding.state == "wrong"
    assert finding.found == "numpy is 1.26, but must be >=2"
