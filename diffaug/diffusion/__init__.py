"""The mathematics: from a schedule and a network to edited samples.

A `Schedule` gives signal and noise at each time, a `Denoiser` a network's estimate of the clean
sample, a `Sampler` the way back in steps. An `Edit` holds everything that one sample's result
depends on. `Lanes` run edits through a `Process`, under a policy such as `ordered`, with `Stages`
around it for a model over latents. Nothing here knows of recipes, shards or outputs.
"""
