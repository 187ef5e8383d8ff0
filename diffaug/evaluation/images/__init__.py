"""The images of an evaluation: drawn from shards, augmented, corrupted, and read again."""
