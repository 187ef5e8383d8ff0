"""What is done to texts in the arms of an evaluation that no diffusion model has a part in."""
