"""How an OUTPUT comes about: planned, augmented shard by shard, and finished."""

from diffaug.job.job import Job

__all__ = ["Job"]
