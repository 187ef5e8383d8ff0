"""Does the augmentation help the classifier trained on it? Arms, seeds, controls, a verdict."""
