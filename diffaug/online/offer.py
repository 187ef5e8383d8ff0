"""What a server says that it makes, and whether that is what is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from diffaug.diffusion.noise import NOISE_VERSION
from diffaug.errors import ConfigError
from diffaug.execution import CHANGES_PIXELS, Execution, device_class, versions
from diffaug.models import Checkpoint, checkpoint_of, with_suggestions
from diffaug.models.card import is_shipped
from diffaug.recipe import Recipe
from diffaug.recipe.recipe import CHANGES_IMAGES
from diffaug.storage import local_path

__all__ = ["Offer", "Wanted", "model_here", "read_offers"]

_REFERENCES = ("model", "lora", "autoencoder", "embeddings")
"""Fields that say where weights are; their digest says what they are."""


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class _Model(_Read):
    name: str
    revision: str | None
    digest: str


class _Environment(_Read):
    versions: dict[str, str]
    noise: str
    execution: Execution
    device_class: str


class Offer(_Read):
    """A recipe of a server, as GET /v1/recipes has it.

    Attributes:
        name: of the recipe there.
        digest: of recipe and weights, in hex.
        model: its name, commit and digest.
        recipe: its fields, as JSON.
        environment: what else decides a pixel.
    """

    name: str
    digest: str
    model: _Model
    recipe: dict[str, Any]
    environment: _Environment

    @property
    def execution(self) -> Execution:
        """Batch size, dtype and device there."""
        return self.environment.execution

    def denied_by(self, row: Mapping[str, Any]) -> list[str]:
        """In which columns the row of a result is not of this offer."""
        found, here = self.environment, self.execution
        columns = {
            "recipe_digest": self.digest,
            "model_digest": self.model.digest,
            "batch_size": here.batch_size,
            "dtype": here.dtype,
            "device": found.device_class,
        }
        columns |= {
            f"{name}_version": found.versions.get(name)
            for name in ("diffaug", "torch", "diffusers", "pillow")
        }
        return [name for name, value in columns.items() if row.get(name) != value]


def read_offers(data: bytes, url: str) -> list[Offer]:
    """What a server answered to GET /v1/recipes.

    Raises:
        ConfigError: no `diffaug serve` answers so.
    """
    try:
        return TypeAdapter(list[Offer]).validate_json(data)
    except ValidationError:
        raise ConfigError(
            f"{url} does not answer as `diffaug serve` of this version does: check the address"
        ) from None


class Wanted:
    """The recipe that is asked for, and the offer that all servers must agree on.

    Args:
        recipe: as the user gave it.
        checkpoint: its model, if it is on this machine: then only its weights will do. Otherwise
            a server's are taken to be those that the recipe names, and its suggestions too.

    Attributes:
        first: the first server that was asked, and its offer; None before that.
    """

    def __init__(self, recipe: Recipe, checkpoint: Checkpoint | None) -> None:
        self._recipe = recipe if checkpoint is None else with_suggestions(recipe, checkpoint)
        self._checkpoint = checkpoint
        self._lock = threading.Lock()
        self.first: tuple[str, Offer] | None = None

    def choose(self, url: str, offers: list[Offer]) -> Offer:
        """The offer of a server that makes what the others make.

        Raises:
            ConfigError: it has none; the text says in what the closest one differs.
        """
        with self._lock:
            differ = {offer.name: list(self._differences(offer)) for offer in offers}
            for offer in offers:
                if not differ[offer.name]:
                    return self._agreed(url, offer)
        if not differ:
            raise ConfigError(f"{url} offers no recipe: start it with this one")
        name = min(differ, key=lambda name: len(differ[name]))
        raise ConfigError(
            f"{url} does not serve this recipe: its recipe {name} differs in "
            f"{', '.join(differ[name])}: ask for that one, or start the server with this one"
        )

    def elsewhere(self, execution: Execution) -> list[str]:
        """How results made here differ in their making from the servers', in words."""
        if self.first is None:
            return ["what the servers run is not known"]
        made = versions() | {
            "batch size": str(execution.batch_size),
            "dtype": execution.dtype,
            "kind of device": device_class(execution.device),
        }
        return [
            f"{name} {value} there and {made.get(name, 'none')} here"
            for name, value in self._made_with(self.first[1]).items()
            if made.get(name) != value
        ]

    def _agreed(self, url: str, offer: Offer) -> Offer:
        if self.first is None:
            self.first = url, offer
        place, first = self.first
        ours, theirs = self._made_with(first), self._made_with(offer)
        if offer.digest != first.digest:
            ours["digest of recipe and weights"] = f"{first.digest[:8]}…"
            theirs["digest of recipe and weights"] = f"{offer.digest[:8]}…"
        differ = [
            f"{name} ({value} at {place}, {theirs.get(name, 'none')} at {url})"
            for name, value in ours.items()
            if theirs.get(name) != value
        ]
        if differ:
            raise ConfigError(
                f"the servers would make other pictures of the same: they differ in "
                f"{', '.join(differ)}: start them alike, or ask one of them alone"
            )
        return offer

    def _made_with(self, offer: Offer) -> dict[str, str]:
        """What decides the last bits of a result."""
        found, recipe = offer.environment, self._recipe
        names = [*CHANGES_PIXELS]
        names += ["transformers"] if recipe.prompt or recipe.negative_prompt else []
        return {name: found.versions[name] for name in names if name in found.versions} | {
            "batch size": str(offer.execution.batch_size),
            "dtype": offer.execution.dtype,
            "kind of device": found.device_class,
        }

    def _differences(self, offer: Offer) -> Iterator[str]:
        """In what an offer is not what is asked for; nothing if it is."""
        recipe = self._completed(offer)
        weights = self._checkpoint.digest if self._checkpoint else offer.model.digest
        same = recipe.digest(weights, NOISE_VERSION) == offer.digest
        names = {"detail"} if same else {*CHANGES_IMAGES, "background", "detail"}
        names |= {"frames", "fps", "window", "medium", "noise_time"}  # of clips
        if self._checkpoint is None:
            names |= {*_REFERENCES} - ({"model"} if _is_named(recipe.model, offer.model) else set())
        asked, found = recipe.model_dump(mode="json"), offer.recipe
        differ = [
            f"{name} ({_shown(found.get(name))} there, {_shown(asked.get(name))} asked)"
            for name in {**asked, **found}
            if name in names and asked.get(name) != found.get(name)
        ]
        if weights != offer.model.digest:
            model = f"{offer.model.digest[:8]}… there, {weights[:8]}… here"
            differ.append(f"the weights of {recipe.model} ({model})")
        if offer.environment.noise != NOISE_VERSION:
            differ.append(f"the noise ({offer.environment.noise} there, {NOISE_VERSION} here)")
        if not same and not differ:
            differ.append("its digest, though its fields are the same")
        yield from differ

    def _completed(self, offer: Offer) -> Recipe:
        """The recipe, with an offer's values where the card of a model would suggest them."""
        unset = [name for name in Recipe.suggested if name not in self._recipe.model_fields_set]
        if self._recipe.noise_time is None:  # which clips share where nothing is said
            unset.append("noise_time")
        theirs = {name: offer.recipe[name] for name in unset if name in offer.recipe}
        try:
            return Recipe.of(self._recipe.model_dump() | theirs)
        except ConfigError:  # such a recipe is none
            return self._recipe


def model_here(recipe: Recipe) -> Checkpoint | None:
    """The model of a recipe, if this machine has it without asking the hub; else None."""
    named = (recipe.model, recipe.lora, recipe.autoencoder, *recipe.embeddings)
    for reference in filter(None, named):
        if not is_shipped(reference) and not local_path(reference).exists():
            return None
    return checkpoint_of(recipe)


def _is_named(asked: str, model: _Model) -> bool:
    """Whether a reference names a server's model: its name and, if it names one, its commit."""
    name, _, revision = asked.partition("@")
    its_name, _, its_revision = model.name.partition("@")
    return name == its_name and revision in ("", its_revision, model.revision)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
