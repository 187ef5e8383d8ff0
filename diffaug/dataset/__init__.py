"""Training on both: real shards and an augmented OUTPUT, mixed as a stream.

Built from webdataset's parts: `split_by_node` and `split_by_worker` share the work out, `shuffle`
orders it, `RandomMix` (seeded) and `RoundRobin` mix.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import webdataset as wds

from diffaug import storage
from diffaug.dataset.decode import Decoder, Skips
from diffaug.dataset.index import Index
from diffaug.dataset.mixture import Mixture, ranks
from diffaug.dataset.query import Query
from diffaug.dataset.sides import Augmented, Real
from diffaug.errors import ConfigError
from diffaug.output.layout import Output
from diffaug.output.run import the_run
from diffaug.shards.reading import Reading

__all__ = ["AugmentedDataset"]


class AugmentedDataset(wds.DataPipeline, wds.FluidInterface):  # type: ignore[misc]
    """A torch IterableDataset that mixes real shards with the images of an OUTPUT.

    Yields dicts: `image`, a PIL image of mode `mode`; `label`, the integer class, or its text, or
    None; `augmented`, a bool; `__key__`, which for an augmented image is `<source key>-a<copy>`.
    With `soft_labels` also `strength`, a float in [0, 1], and `target`, float32 (classes,).

    To train, each rank yields the same number of samples, so that with equal loaders each has the
    same number of batches. Shards are passed through in an order of the epoch's own, each once
    before any comes again. To evaluate, each sample comes exactly once over all ranks and workers,
    in a fixed order, and ranks may differ in how many they get.

    It is a webdataset pipeline too: `.map(…)`, `.select(…)`, `.batched(…)` and the like give a new
    one. What it yields is a function of its arguments, the epoch set and the numbers of ranks and
    workers; a DataLoader may fork or spawn its workers.

    Args:
        output: folder or URL of an OUTPUT of `diffaug augment`. What is committed counts.
        real: shards of real samples: files, globs, brace ranges or lists, on any fsspec URL. None
            for augmented ones alone; but where the OUTPUT's layout is `paired`, for the sources
            that lie in its own tars.
        p: how probable it is that a sample drawn is augmented, in [0, 1]; 0.5 by default. At 0 and
            1 there is but one side, in evaluation too, where `p` says nothing else.
        ratio: in place of `p`, how many real and how many augmented samples take turns, such as
            (1, 2); exact in each worker.
        where: which images of the OUTPUT are wanted: a condition over the manifest's columns in
            the syntax of pandas' `DataFrame.query`. Where it does not name `status`, only images
            that are `ok` are; where it does, it alone decides: so filtered ones can be taken in.
        train: whether it is to train or to evaluate.
        samples: how many samples an epoch has over all ranks together, to train; what does not
            divide by the ranks is left out. By default as many as the job had source samples, so
            that an epoch has as many steps as one without augmentation; without real shards, as
            many as images are chosen.
        shuffle: how many samples of each side are held, undecoded, to draw the next one from; 0 or
            1 for none. Only to train.
        seed: of order and draws.
        soft_labels: the number of classes, for soft labels: the target is (1 - strength) times
            one-hot plus strength times uniform, that is, label smoothing by the strength; real
            samples are one-hot. That labels soften as augmentation grows is of Liu et al., Soft
            Augmentation for Image Classification, CVPR 2023. Samples without a class are skipped.
        mode: Pillow's mode of every image, `RGB` or `L`.
        image_key: extensions by which the image of a real sample is known; by default the job's.
        label_key: extension of its class; by default the job's.

    Attributes:
        samples: how many samples an epoch has over all ranks together; None in evaluation.
        chosen: how many images of the OUTPUT are chosen.

    Raises:
        ConfigError: an argument is not what it must be, or nothing is chosen.
        UncommittedError: a part of the manifest is broken.
        OSError: storage will not give something.
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
        output = str(output)
        p = _probability(p, ratio)
        _check(samples, shuffle, soft_labels, mode)
        if samples is not None and not train:
            raise ConfigError("samples: in evaluation each comes exactly once: leave it out")
        recipe = the_run(output).recipe
        index = Index(output, Query(where))
        self.chosen = sum(index.tars.values())
        keys = recipe.image_key if image_key is None else image_key
        keys = tuple(keys.split(",") if isinstance(keys, str) else keys)
        keys = tuple(key for key in keys if key != recipe.mask_key)
        reading = Reading(keys, label_key or recipe.label_key)
        shards = _real_shards(output, real, recipe.layout == "paired", index)
        if shards is None and p is not None and p < 1:
            raise ConfigError(
                "p and ratio mix augmented samples with real ones: give real=, or leave them out"
            )
        sources = Real(shards, reading) if shards else None
        p = 0.5 if p is None else p
        if sources is not None and p == 1:
            sources = None
        augmented = Augmented(output, index) if sources is None or p > 0 else None
        if augmented is not None and not self.chosen:
            raise ConfigError(
                f"no image of {storage.public_url(output)} is chosen"
                + (f" where {where}" if where else ": every one failed or was filtered")
            )
        self.samples = None
        if train:
            self.samples = samples or (self.chosen if sources is None else index.sources)
        if (not train or samples is None) and ranks()[1] > 1:
            _refuse_unfinished(output)
        self._skips = Skips()
        decoder = Decoder(self._skips, mode, recipe.max_pixels, soft_labels)
        self._mixture = Mixture(sources, augmented, decoder, p, ratio, self.samples, shuffle, seed)
        super().__init__(self._mixture)

    def set_epoch(self, epoch: int) -> None:
        """Take another order and other draws, from the next iteration on, in all workers.

        As for torch's DistributedSampler, epochs are alike unless this is called before each.
        """
        self._mixture.epoch.set(epoch)

    @property
    def skipped(self) -> int:
        """How many samples were passed over so far, since they cannot be used, in all workers.

        The log names them, with why. A sample skipped in two epochs counts twice; a shard cut short
        counts as one.
        """
        return int(self._skips)


def _probability(p: float | None, ratio: tuple[int, int] | None) -> float | None:
    """That a sample is augmented; None where it is not said."""
    if ratio is not None:
        if p is not None:
            raise ConfigError("p, ratio: give one of the two")
        if len(ratio) != 2 or any(not isinstance(n, int) or n < 0 for n in ratio) or not sum(ratio):
            raise ConfigError(
                f"ratio must be (real, augmented), whole numbers such as (1, 2), got {ratio!r}"
            )
        return ratio[1] / sum(ratio)
    if p is not None and not (isfinite(p) and 0 <= p <= 1):
        raise ConfigError(f"p must be in [0, 1], got {p!r}")
    return p


def _check(samples: int | None, shuffle: int, soft_labels: int | None, mode: str) -> None:
    if samples is not None and samples < 1:
        raise ConfigError(f"samples must be at least 1, got {samples}")
    if shuffle < 0:
        raise ConfigError(f"shuffle must be a number of samples, 0 for none, got {shuffle}")
    if soft_labels is not None and (isinstance(soft_labels, bool) or soft_labels < 2):
        raise ConfigError(f"soft_labels must be the number of classes, got {soft_labels!r}")
    if mode not in ("RGB", "L"):
        raise ConfigError(f"mode must be RGB or L, got {mode!r}")


def _real_shards(
    output: str, real: str | Path | Sequence[str | Path] | None, paired: bool, index: Index
) -> list[str] | None:
    if real is not None:
        patterns = [real] if isinstance(real, (str, Path)) else real
        return storage.expand([str(pattern) for pattern in patterns])
    tars = [tar for tar in index.every if tar.startswith("shards/")]
    return [storage.join(output, tar) for tar in tars] if paired and tars else None


def _refuse_unfinished(output: str) -> None:
    """Ranks that look at different times must see the same."""
    if not storage.exists(Output(output).shards_txt):
        raise ConfigError(
            f"{storage.public_url(output)} is not finished, and ranks could see different parts of "
            "it: finish the job, or, to train, give samples="
        )
