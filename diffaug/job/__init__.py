"""How an OUTPUT comes about: planned, augmented shard by shard, and finished."""
