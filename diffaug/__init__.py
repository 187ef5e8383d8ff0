"""diffaug: audited, reproducible diffusion augmentation for sharded image datasets.

Importing it is cheap: torch and diffusers are imported when first needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from diffaug.version import __version__

if TYPE_CHECKING:
    from diffaug.dataset import AugmentedDataset
    from diffaug.errors import (
        ConfigError,
        DefectError,
        DiffaugError,
        DivergedError,
        OutOfMemoryError,
        UncommittedError,
    )
    from diffaug.job import Job
    from diffaug.job.augment import augment_shards
    from diffaug.job.finish import finish
    from diffaug.job.plan import freeze, plan_run
    from diffaug.models.module import DiffusionModel
    from diffaug.online import Augment, Augmenter, RemoteAugmenter, augment
    from diffaug.output.summary import Summary, summarise
    from diffaug.output.survey import ShardReport
    from diffaug.recipe import Recipe

__all__ = [
    "Augment",
    "AugmentedDataset",
    "Augmenter",
    "ConfigError",
    "DefectError",
    "DiffaugError",
    "DiffusionModel",
    "DivergedError",
    "Job",
    "OutOfMemoryError",
    "Recipe",
    "RemoteAugmenter",
    "ShardReport",
    "Summary",
    "UncommittedError",
    "__version__",
    "augment",
    "augment_shards",
    "finish",
    "freeze",
    "plan_run",
    "summarise",
]

_HOMES = {
    "Augment": "online",
    "AugmentedDataset": "dataset",
    "Augmenter": "online",
    "ConfigError": "errors",
    "DefectError": "errors",
    "DiffaugError": "errors",
    "DiffusionModel": "models.module",
    "DivergedError": "errors",
    "Job": "job",
    "OutOfMemoryError": "errors",
    "Recipe": "recipe",
    "RemoteAugmenter": "online",
    "ShardReport": "output.survey",
    "Summary": "output.summary",
    "UncommittedError": "errors",
    "augment": "online",
    "augment_shards": "job.augment",
    "finish": "job.finish",
    "freeze": "job.plan",
    "plan_run": "job.plan",
    "summarise": "output.summary",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diffaug' has no attribute {name!r}")
    if name == "AugmentedDataset":
        from diffaug.errors import require_extra

        require_extra("diffaug.AugmentedDataset", "loader", "pandas", "webdataset")
    return getattr(importlib.import_module(f"diffaug.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
