"""What is asked: the `Recipe`, its fields and what they mean."""

from diffaug.recipe.recipe import Recipe

__all__ = ["Recipe"]
