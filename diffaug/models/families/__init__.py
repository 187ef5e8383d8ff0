"""One adapter for each family of diffusers pipelines."""
