"""`diffaug sample`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from diffaug.cli.app import OK, app, err, out
from diffaug.cli.progress import counted
from diffaug.cli.sampled import labels_of, sample_texts
from diffaug.cli.steps import advise, command
from diffaug.diffusion.samplers import SamplerName, TextSamplerName
from diffaug.errors import ConfigError
from diffaug.recipe import Recipe

__all__ = ["sample"]

_COLUMNS = 8
"""Images in a row of a grid, unless the user gives their number."""


@app.command
def sample(
    checkpoint: str,
    *,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    number: Annotated[int, Parameter(name=["--number", "-n"])] = 64,
    label: str = "none",
    steps: int | None = None,
    sampler: SamplerName | TextSamplerName | None = None,
    eta: float = 0.0,
    guidance: float = 1.0,
    seed: int = 0,
    columns: int | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> int:
    """Generate images from pure noise: a grid, a folder of PNGs, or shards; or texts from masks.

    Parameters
    ----------
    checkpoint
        a shipped name, a local diffusers folder, or org/name[@revision] on the hub
    output
        x.png for one grid, which replaces an existing file; x-{000000..000003}.tar for shards; else
        a folder, with a folder for each class if there are classes [default: samples.png]. Of a
        language model x.txt, a text a line, or shards [default: samples.txt]
    number
        how many images
    label
        none; all, every class in turn; or classes to take in turn (0,3,9)
    steps
        network calls from noise to image [default: the model card's suggestion, else 20]
    sampler
        ddim, ddpm, dpmsolver++, lcm or one-step [default: the model card's suggestion, else
        dpmsolver++]; of a language model random or confident [default: random]
    eta
        fresh noise in a step of ddim, from 0 (none) to 1 (as ddpm)
    guidance
        classifier-free guidance scale; 1 turns guidance off and halves the network calls
    seed
        the seed of all randomness; image i does not depend on the number of images
    columns
        images in a row of a grid [default: 8]
    batch_size
        lanes in the one fixed batch shape [default: 32]
    dtype
        float32 or bfloat16 [default: the faster one on this machine]
    device
        cpu, cuda or cuda:N [default: cuda if available]
    """
    if number < 1 or (columns is not None and columns < 1):
        raise ConfigError("--number and --columns must be at least 1")
    if columns is not None and output is not None and not output.endswith(".png"):
        raise ConfigError("--columns is for a grid: name a .png file with -o, or leave it out")
    asked = {"steps": steps, "sampler": sampler, "eta": eta, "guidance": guidance, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    recipe = Recipe.of({"model": checkpoint, "strength": 1, **given}, where="sample")

    from diffaug.execution import Execution
    from diffaug.models import find_checkpoint, load_model, suggestion_for, with_suggestions
    from diffaug.models.generate import generate
    from diffaug.models.unfit import refuse_untaught_noise
    from diffaug.pictures.gallery import write_images
    from diffaug.pictures.grid import strip

    execution = Execution.choose(batch_size, dtype, device)
    found = find_checkpoint(checkpoint)
    if suggestion := suggestion_for(recipe, found):
        err.print(str(suggestion), "suggested", **suggestion.fields)
    if found.is_language_model:
        return sample_texts(found, recipe, execution, label, number, output or "samples.txt")
    recipe = with_suggestions(recipe, found)
    output = output or "samples.png"
    model = load_model(found, execution)
    if model.prompts is not None:
        raise ConfigError(
            f"{checkpoint} takes prompts, and sample supports classes only: generate with "
            "diffusers' own pipeline; diffaug augments with it"
        )
    refuse_untaught_noise(checkpoint, model, guidance)
    labels = labels_of(label, model.denoiser.classes, number)
    if model.denoiser.requires_class and label == "none":
        raise ConfigError(f"--label: {checkpoint} requires a class for every image: all, or 0,3")
    model.denoiser.check_classes(label != "none", guidance)
    images = generate(
        model,
        [model.condition(label, None) for label in labels],
        steps=recipe.steps,
        sampler=recipe.sampler,
        eta=recipe.eta,
        guidance=recipe.guidance,
        seed=recipe.seed,
        batch_size=execution.batch_size,
    )
    if model.frames is not None and output.endswith(".tar"):
        raise ConfigError(f"{checkpoint} draws clips, which are written as strips: name a .png")
    strips = (strip(image, model.frames) for image in images)
    usual = _COLUMNS if model.frames is None else 1
    written = write_images(strips, labels, output, columns or usual)
    for _ in counted(written, number, "sampling images", err):
        pass
    out.print(f"{number} images in {output}")
    advise(f"next: {command('try', 'FOLDER', '--model', checkpoint)}")
    return OK
