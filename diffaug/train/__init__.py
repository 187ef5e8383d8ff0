"""Training a denoiser from one's own shards: recipe, data, loop, checkpoints."""
