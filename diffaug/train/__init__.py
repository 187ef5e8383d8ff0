"""Training a denoiser on your own shards: recipe, data, objective, loop, checkpoints."""
