"""What `diffaug sample` draws: classes in turn, and texts."""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING

from diffaug import storage
from diffaug.cli.app import OK, err, out
from diffaug.cli.progress import counted
from diffaug.cli.steps import advise, command
from diffaug.errors import ConfigError
from diffaug.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffaug.execution import Execution
    from diffaug.models import Checkpoint

__all__ = ["labels_of", "sample_texts"]


def labels_of(text: str, classes: int, number: int) -> list[int | None]:
    """The class of each sample.

    Args:
        text: none; all, for every class in turn; or classes to take in turn (0,3,9).
        classes: how many the model has.
        number: of samples.

    Raises:
        ConfigError: the model has no such class, or some would not be used.
    """
    try:
        turns = list(range(classes)) if text == "all" else [int(one) for one in text.split(",")]
    except ValueError:
        if text != "none":
            raise ConfigError(
                f"--label must be none, all, or classes such as 0,3, got {text!r}"
            ) from None
        return [None] * number
    if not turns or any(not 0 <= one < classes for one in turns):
        raise ConfigError(f"--label {text}: the model has {classes} classes, counted from 0")
    if text != "all" and len(turns) > number:
        raise ConfigError(
            f"--label names {len(turns)} classes for {number} samples, so that some would not be "
            f"used: name fewer, or --number {len(turns)}"
        )
    return list(islice(cycle(turns), number))


def sample_texts(
    checkpoint: Checkpoint,
    asked: Recipe,
    execution: Execution,
    label: str,
    number: int,
    output: str,
) -> int:
    """Draw texts from a masked language model.

    Args:
        checkpoint: the model.
        asked: the recipe as the user gave it: seed, steps and sampler.
        execution: batch size, dtype and device.
        label: see `labels_of`.
        number: how many.
        output: `x.txt`, a text a line, which is replaced; or `.tar`, for shards.

    Raises:
        ConfigError: the model's card says no lengths, or an argument is wrong.
    """
    from diffaug.diffusion.masked import Mixing
    from diffaug.models import load_masked_model, with_suggestions
    from diffaug.pictures.gallery import check_folder, write_shards
    from diffaug.texts.draw import draw_texts

    named = {name: getattr(asked, name) for name in asked.model_fields_set}
    recipe = with_suggestions(Recipe.of(named | {"medium": "text"}, where="sample"), checkpoint)
    if not output.endswith((".txt", ".tar")):
        raise ConfigError(f"{output}: use .txt for texts, a line each, or .tar for shards")
    if checkpoint.card is None or not checkpoint.card.lengths:
        raise ConfigError(
            f"{checkpoint.reference}: its card names no lengths of texts to draw, as the cards of "
            "models do that diffaug train --medium text makes"
        )
    model = load_masked_model(checkpoint, execution)
    labels = labels_of(label, len(model.classes), number)
    texts = draw_texts(
        model,
        labels,
        checkpoint.card.lengths,
        steps=recipe.steps,
        mixing=Mixing(confident=recipe.sampler == "confident"),
        seed=recipe.seed,
        batch_size=execution.batch_size,
    )
    if output.endswith(".tar"):
        written = write_shards((text.encode() for text in texts), "txt", labels, output)
    else:
        if not storage.is_local(output):
            raise ConfigError(f"{storage.public_url(output)}: only shards go to a remote store")
        check_folder(storage.local_path(output).parent)
        written = _lines(texts, output)
    for _ in counted(written, number, "drawing texts", err):
        pass
    out.print(f"{number} texts in {output}")
    advise(f"next: {command('augment', 'SOURCE', 'OUTPUT', '--model', checkpoint.reference)}")
    return OK


def _lines(texts: Iterator[str], output: str) -> Iterator[int]:
    lines = []
    for text in texts:
        lines.append(text + "\n")
        yield len(lines)
    storage.replace("".join(lines).encode(), str(storage.local_path(output)))
