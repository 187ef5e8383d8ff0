"""OUTPUT of an evaluation: where each file lies in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffaug import storage

__all__ = ["PLAN_JSON", "EvaluationOutput"]

PLAN_JSON = "evaluation.json"
"""The file that makes a folder the OUTPUT of an evaluation."""


@dataclass(frozen=True, slots=True)
class EvaluationOutput:
    """An evaluation's OUTPUT.

    Attributes:
        url: a local folder. The plan and the results of a copy elsewhere can be read by URL.

    Raises:
        ConfigError: the folder is blank, or the root of the disk.
    """

    url: str

    def __post_init__(self) -> None:
        storage.refuse_root(self.url)

    @property
    def public(self) -> str:
        """The URL without credentials, to show."""
        return storage.public_url(self.url)

    @property
    def folder(self) -> Path:
        """The folder on this machine."""
        return storage.local_path(self.url)

    @property
    def plan_json(self) -> str:
        """Everything frozen about the evaluation; its presence marks the folder as one."""
        return storage.join(self.url, PLAN_JSON)

    @property
    def data_json(self) -> str:
        """What the sources hold; written once all images are in place."""
        return storage.join(self.url, "data.json")

    @property
    def search_json(self) -> str:
        """The rounds of a search."""
        return storage.join(self.url, "search.json")

    @property
    def recipe_yaml(self) -> str:
        """The recipe that a search ends with."""
        return storage.join(self.url, "recipe.yaml")

    @property
    def results(self) -> str:
        """The folder of tables, plots and verdicts."""
        return storage.join(self.url, "results")

    def result(self, name: str) -> str:
        """A file of the results, such as `results.json`."""
        return storage.join(self.results, name)

    def labelled(self, seed: int) -> Path:
        """The shard of a seed's labelled images."""
        return self._seed(seed) / "labelled.tar"

    def validation(self, seed: int) -> Path:
        """The shard of a seed's validation images; their corrupted versions lie next to it."""
        return self._seed(seed) / "validation.tar"

    def elsewhere(self, seed: int, name: str, labels: int | None = None) -> Path:
        """The images that another tool made of a seed's labelled images, or for a budget alone."""
        return self._seed(seed) / (f"{name}.npz" if labels is None else f"{name}={labels}.npz")

    def further(self, name: str) -> Path:
        """The shard of images with classes of their own, which all seeds have."""
        return self.folder / f"further/{name}.tar"

    @property
    def test(self) -> Path:
        """The shard of the test images; their corrupted versions lie next to it."""
        return self.folder / "test/test.tar"

    def pool(self, seed: int, arm: str) -> str:
        """The OUTPUT of the job that augments a seed's labelled images for an arm."""
        return str(self._seed(seed) / arm.replace(" ", "-"))

    def pools(self, seed: int) -> list[str]:
        """The OUTPUTs of a seed's jobs that have been planned, sorted."""
        return [str(run.parent) for run in sorted(self._seed(seed).glob("*/run.json"))]

    def trial(self, seed: int, labels: int, arm: str) -> Path:
        """The record of one training: of a seed, labelled images a class, and an arm."""
        name = f"{labels}-{arm.replace(' ', '-')}.json"
        return self.folder / f"trials/seed-{seed}/{name}"

    def _seed(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}"
