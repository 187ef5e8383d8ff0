"""AugmentedDataset: real shards and an augmented OUTPUT, mixed as one stream.

It is built from webdataset's parts: `split_by_node` and `split_by_worker` divide the work,
`shuffle` orders it, and `RandomMix` (seeded) and `RoundRobin` mix the two sides.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import webdataset as wds

from diffaug import storage
from diffaug.dataset.decode import Decoder, Skips
from diffaug.dataset.index import Index
from diffaug.dataset.mixing import Mixing
from diffaug.dataset.mixture import Mixture, ranks
from diffaug.dataset.query import Query
from diffaug.dataset.sides import Augmented, Real
from diffaug.errors import ConfigError
from diffaug.media import medium_of
from diffaug.output.layout import SHARDS, Output
from diffaug.output.run import the_run
from diffaug.output.sources import source_shards
from diffaug.pack.beside import pack_folders
from diffaug.recipe import Recipe
from diffaug.shards.reading import Reading

__all__ = ["AugmentedDataset"]

_log = logging.getLogger(__name__)

_ONE_BY_ONE = {"_map", "_map_dict", "_map_tuple", "_rename", "_rename_keys", "_select", "_to_tuple"}
"""webdataset's stages that take no sample before they have yielded the one before."""


class AugmentedDataset(wds.DataPipeline, wds.FluidInterface):  # type: ignore[misc]
    """A torch IterableDataset that mixes real shards with the images of an OUTPUT.

    Yields dicts: `image`, a PIL image of mode `mode`; `label`, the integer class, or its text, or
    None; `augmented`, a bool; `__key__`, which for an augmented image is `<source key>-a<copy>`.
    With `soft_labels` also `strength`, a float in [0, 1], and `target`, float32 (classes,). Where
    the OUTPUT holds clips, there is `clip`, a uint8 tensor (T, C, H, W), in place of `image`; where
    it holds texts, `text`, a str.

    In training each rank yields the same number of samples, so with equal loaders each rank has
    the same number of batches. Every epoch has its own order of shards, and no shard comes again
    before all others have. In evaluation each sample comes exactly once over all ranks and
    workers, in a fixed order, and ranks may differ in how many they get.

    The dataset is also a webdataset pipeline: `.map(…)`, `.select(…)`, `.batched(…)` and the like
    return a new one. What it yields is a function of its arguments, the epoch set, and the
    numbers of ranks and workers. A DataLoader may fork or spawn its workers.

    Args:
        output: folder or URL of an OUTPUT of `diffaug augment`. Its committed shards count.
        real: shards of real samples: files, globs, brace ranges or lists, on any fsspec URL; or
            folders of pictures or of class folders, which are packed into `output`-source unless
            they were packed for the job, and whose classes must be numbered as in the OUTPUT. None
            uses augmented samples alone, unless the OUTPUT's layout is `paired`: then the real
            samples are the sources in its own tars.
        p: probability that a sample drawn is augmented, in [0, 1]; 0.5 by default. At 0 and 1
            there is only one side, in evaluation too, where `p` has no other effect.
        ratio: in place of `p`, how many real and how many augmented samples take turns, such as
            (1, 2); exact in each worker.
        where: which images of the OUTPUT to use: a condition over the manifest's columns in the
            syntax of pandas' `DataFrame.query`. A condition that does not name `status` selects
            only images that are `ok`. One that does decides alone, so it can include filtered
            images.
        train: True to train, False to evaluate.
        samples: how many samples an epoch has over all ranks together, in training; the remainder
            of a division by the number of ranks is left out. By default as many as the job had
            source samples, so that an epoch has as many steps as one without augmentation;
            without real shards, as many as images are chosen.
        shuffle: how many samples of each side are held, undecoded, to draw the next one from; 0 or
            1 for none. In training only.
        seed: of order and draws.
        soft_labels: the number of classes, for soft labels: the target is (1 - strength) times
            one-hot plus strength times uniform, which is label smoothing by the strength; for real
            samples it is one-hot. Labels that soften as augmentation grows come from Liu et al.,
            Soft Augmentation for Image Classification, CVPR 2023. Samples without a class are
            skipped.
        mode: Pillow's mode of every image, `RGB` or `L`.
        image_key: extensions of the image of a real sample; by default the job's.
        label_key: extension of its class; by default the job's.

    Attributes:
        samples: how many samples an epoch has over all ranks together; None in evaluation.
        chosen: how many images of the OUTPUT are chosen.

    Raises:
        ConfigError: an argument is invalid, or no image is chosen.
        UncommittedError: a part of the manifest is broken.
        OSError: storage failed.
    """

    def __init__(
        self,
        output: str | Path,
        *,
        real: str | Path | Sequence[str | Path] | None = None,
        p: float | None = None,
        ratio: tuple[int, int] | None = None,
        where: str | None = None,
        train: bool = True,
        samples: int | None = None,
        shuffle: int = 1000,
        seed: int = 0,
        soft_labels: int | None = None,
        mode: str = "RGB",
        image_key: str | Sequence[str] | None = None,
        label_key: str | None = None,
    ) -> None:
        mixing = Mixing(p, ratio, samples, shuffle, seed, train)
        layout = Output(_place("OUTPUT", output))
        recipe = the_run(layout.url).recipe
        self._skips = Skips()
        decoder = Decoder(
            self._skips,
            mode,
            recipe.max_pixels,
            recipe.background,
            soft_labels,
            medium_of(recipe),
        )
        index = Index(layout.url, Query(where))
        self.chosen = sum(index.tars.values())
        shards = _real_shards(layout, real, recipe, index)
        reading = _reading(recipe, image_key, label_key)
        sides = _sides(mixing, Real(shards, reading) if shards else None, layout, index)
        if sides[1] is not None and not self.chosen:
            raise ConfigError(
                f"no {recipe.medium or 'image'} of {layout.public} is chosen"
                + (f" where {where}" if where else ": every one failed or was filtered")
            )
        self.samples = None
        if train:
            self.samples = samples or (self.chosen if sides[0] is None else index.sources)
        if samples is None and ranks()[1] > 1:
            _refuse_unfinished(layout)
        self._mixture = Mixture(*sides, decoder, mixing, self.samples)
        super().__init__(self._mixture)

    def set_epoch(self, epoch: int) -> None:
        """Use another order and other draws from the next iteration on, in all workers.

        As with torch's DistributedSampler, all epochs are the same unless this is called before
        each.
        """
        self._mixture.epoch.set(epoch)

    def __iter__(self) -> Any:
        self._mixture.forget()
        return super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration that began last is, of plain numbers and names.

        It is that of this process: a plain DataLoader's workers have their own, for which
        torchdata's `StatefulDataLoader` asks them. Between two epochs it is the next one's start
        once `set_epoch` has been called.

        Raises:
            ConfigError: a stage of the pipeline, such as `batched` or `shuffle`, takes samples
                before it yields them.
        """
        self._refuse_read_ahead()
        return self._mixture.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration continue from a state: what follows is what would have followed.

        The epoch comes with it, unless `set_epoch` was called: over another epoch than the state's,
        the iteration is a whole one. The numbers of ranks and workers, the arguments and the shards
        must be the same. What was taken of the current pass over the shards is read again, but not
        decoded.

        Raises:
            ConfigError: as `state_dict`, or it is not a state of an `AugmentedDataset`. If it is
                one of another dataset, the iteration raises it.
        """
        self._refuse_read_ahead()
        self._mixture.load(state)

    def _refuse_read_ahead(self) -> None:
        for stage in self.pipeline[1:]:
            name = getattr(getattr(stage, "f", stage), "__name__", type(stage).__name__)
            if name not in _ONE_BY_ONE:
                raise ConfigError(
                    f"state_dict: {name.lstrip('_')} takes samples before it yields them, so the "
                    "dataset is further than what came out of it: do this outside of the dataset"
                )

    @property
    def skipped(self) -> int:
        """How many unusable samples have been skipped so far, over all workers.

        The log names them and why. A sample skipped in two epochs counts twice; a shard cut short
        counts as one.
        """
        return int(self._skips)


def _reading(
    recipe: Recipe, image_key: str | Sequence[str] | None, label_key: str | None
) -> Reading:
    """How real samples are read: as the job did, unless the user names other members."""
    named = {"image_key": image_key, "label_key": label_key}
    given = {name: value for name, value in named.items() if value is not None}
    keys = {"image_key", "text_key", "label_key", "mask_key", "medium"}
    fields = recipe.model_dump(include=keys) | given
    reading = Reading.of(Recipe.of(fields, where="AugmentedDataset"))
    return replace(reading, mask_key=None)


def _place(what: str, given: object) -> str:
    """A URL or path as text.

    Raises:
        ConfigError: it is neither.
    """
    if not isinstance(given, (str, Path)):
        raise ConfigError(f"{what} must be a path or URL, got {given!r}")
    return str(given)


def _real_shards(
    output: Output, real: str | Path | Sequence[str | Path] | None, recipe: Recipe, index: Index
) -> list[str] | None:
    """The shards of real samples; None if there are none."""
    paired = recipe.layout == "paired"
    if real is not None:
        several = isinstance(real, Sequence) and not isinstance(real, str)
        patterns = [*real] if several else [real]  # type: ignore[misc]
        (shards,), folders = pack_folders(
            [[_place("real", pattern) for pattern in patterns]],
            output.url,
            max_pixels=recipe.max_pixels,
            named={output.public: index.names()},
        )
        for folder in folders:
            _log.log(logging.WARNING if folder.new else logging.INFO, "%s", folder)
        # the tars of the layout `paired` hold real samples too
        return source_shards(shards, None if paired else output.url)
    tars = [tar for tar in index.every if tar.startswith(f"{SHARDS}/")]
    return [output.at(tar) for tar in tars] if paired and tars else None


def _sides(
    mixing: Mixing, real: Real | None, output: Output, index: Index
) -> tuple[Real | None, Augmented | None]:
    """The sides that take part: a side whose share is 0 does not.

    Raises:
        ConfigError: a share was given for real samples, but there are none.
    """
    if real is None:
        if mixing.is_given and mixing.share < 1:
            raise ConfigError(
                "p and ratio mix augmented samples with real ones: give real=, or leave them out"
            )
        return None, Augmented(output.url, index)
    if mixing.share == 1:
        return None, Augmented(output.url, index)
    return real, Augmented(output.url, index) if mixing.share > 0 else None


def _refuse_unfinished(output: Output) -> None:
    """Refuse an OUTPUT that still grows, since ranks that look at different times would differ."""
    if not storage.exists(output.shards_txt):
        raise ConfigError(
            f"{output.public} is not finished, and ranks could see different parts of it: finish "
            "the job or, in training, give samples="
        )
