"""A training set that mixes real shards with the images of an augmented OUTPUT."""

from diffaug.dataset.augmented import AugmentedDataset

__all__ = ["AugmentedDataset"]
