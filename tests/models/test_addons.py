"""What is put on a model: found where it may lie, counted by its content, and refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diffaug.errors import ConfigError
from diffaug.models import find_checkpoint
from diffaug.models.addons import find_autoencoder
from diffaug.models.card import SHIPPED
from diffaug.models.checkpoint import Addons
from tests.support.hubs import (
    COMMIT,
    OLDER,
    Files,
    Hub,
    forget,
    large,
    refusal,
    serving,
    small,
    text,
    weights,
    write,
)

LORA = weights(1, "unet.to_q.lora_A.weight")
VAE = {
    "config.json": text({"_class_name": "AutoencoderTiny"}),
    "diffusion_pytorch_model.safetensors": weights(5),
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path / "cache") as server:
        yield server


def own(tmp_path: Path) -> str:
    return str(write(tmp_path / "own", small()))


def test_addons_are_found_where_they_may_lie(server: Hub, tmp_path: Path) -> None:
    model = own(tmp_path)
    write(tmp_path / "one", {"mine.safetensors": LORA, "notes.txt": b""})
    usual = {"pytorch_lora_weights.safetensors": LORA, "other.safetensors": weights()}
    write(tmp_path / "usual", usual)
    server.add("org/one", {"mine.safetensors": LORA})
    server.add("org/usual", usual, OLDER)
    places = (
        tmp_path / "one/mine.safetensors", tmp_path / "one", tmp_path / "usual",
        f"org/one@{COMMIT}", f"org/usual@{OLDER}",
    )  # fmt: skip
    found = [find_checkpoint(model, Addons(lora=str(place))) for place in places]
    assert all(one.lora and one.lora.read_bytes() == LORA for one in found)
    assert len({one.digest for one in found}) == 1
    assert found[0].digest != find_checkpoint(model).digest
    assert server.sent() == {"mine.safetensors", "pytorch_lora_weights.safetensors"}


def test_autoencoders_are_found_where_they_may_lie(server: Hub, tmp_path: Path) -> None:
    model = own(tmp_path)
    in_vae = {f"vae/{name}": content for name, content in VAE.items()}
    more = {"other.safetensors": b"big", "diffusion_pytorch_model.fp16.safetensors": b"half"}
    server.add("org/tiny", VAE | more)
    server.add("org/whole", large() | in_vae)
    places = (
        write(tmp_path / "tiny", VAE | more),
        write(tmp_path / "whole", in_vae), f"org/tiny@{COMMIT}", f"org/whole@{COMMIT}",
    )  # fmt: skip
    found = [find_checkpoint(model, Addons(autoencoder=str(place))) for place in places]
    assert all(one.autoencoder and (one.autoencoder / "config.json").is_file() for one in found)
    assert len({one.digest for one in found}) == 1
    assert found[0].digest != find_checkpoint(model).digest
    assert server.sent() == {*VAE, *in_vae}


def test_embeddings_count_each(server: Hub, tmp_path: Path) -> None:
    model = own(tmp_path)
    write(tmp_path, {"a.safetensors": weights(1), "b.safetensors": weights(2)})
    server.add("org/concept", {"learned_embeds.safetensors": weights(1), "x.safetensors": b""})
    a, b, hub_a = (
        str(tmp_path / "a.safetensors"),
        str(tmp_path / "b.safetensors"),
        f"org/concept@{COMMIT}",
    )

    def digest(*embeddings: str) -> str:
        found = find_checkpoint(model, Addons(embeddings=embeddings))
        assert len(found.embeddings) == len(embeddings)
        return found.digest

    assert digest(a) == digest(hub_a)
    assert len({digest(), digest(a), digest(b), digest(a, b)}) == 4


def test_a_changed_addon_is_another_checkpoint(tmp_path: Path) -> None:
    model = own(tmp_path)
    path = write(tmp_path, {"lora.safetensors": LORA}) / "lora.safetensors"
    before = find_checkpoint(model, Addons(lora=str(path)))
    digest = before.digest
    assert find_checkpoint(model, Addons(lora=str(path))) is before
    path.write_bytes(weights(2, "lora"))
    after = find_checkpoint(model, Addons(lora=str(path)))
    assert after != before
    assert after.digest != digest


def test_addons_in_the_cache_serve_when_the_hub_is_gone(server: Hub, tmp_path: Path) -> None:
    model = own(tmp_path)
    server.add("org/one", {"mine.safetensors": LORA})
    server.add("org/whole", large())
    addons = Addons(lora=f"org/one@{COMMIT}", autoencoder=f"org/whole@{COMMIT}")
    before = find_checkpoint(model, addons)
    server.close()
    forget()
    assert find_checkpoint(model, addons) == before


ADDONS: dict[str, tuple[Callable[[str], Addons], Files, str]] = {
    "lora of many": (
        lambda at: Addons(lora=at),
        {"a.safetensors": LORA, "b.safetensors": LORA},
        "holds 2 safetensors files (a.safetensors, b.safetensors)",
    ),
    "pickled lora": (
        lambda at: Addons(lora=at), {"pytorch_lora_weights.bin": b""},
        "pytorch_lora_weights.bin is a pickle",
    ),
    "no lora": (lambda at: Addons(lora=at), {"a.txt": b""}, "no safetensors file in it"),
    "a model as lora": (lambda at: Addons(lora=at), {"a.safetensors": weights()}, "is not a LoRA"),
    "broken lora": (
        lambda at: Addons(lora=at), {"a.safetensors": LORA[:-3]}, "not a whole safetensors file",
    ),
    "pickled embedding": (
        lambda at: Addons(embeddings=(at,)), {"learned_embeds.bin": b""},
        "learned_embeds.bin is a pickle",
    ),
    "pickled autoencoder": (
        lambda at: Addons(autoencoder=at),
        {"config.json": VAE["config.json"], "diffusion_pytorch_model.bin": b""},
        "has no diffusion_pytorch_model.safetensors",
    ),
    "unet as autoencoder": (
        lambda at: Addons(autoencoder=at),
        VAE | {"config.json": text({"_class_name": "UNet2DModel"})},
        "it is a UNet2DModel, not an autoencoder",
    ),
    "broken autoencoder": (
        lambda at: Addons(autoencoder=at),
        VAE | {"diffusion_pytorch_model.safetensors": b"version https://git-lfs"},
        "git-lfs pointer",
    ),
    "no autoencoder": (lambda at: Addons(autoencoder=at), {"a.txt": b""}, "vae/"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ADDONS)
def test_addons_that_are_refused(server: Hub, tmp_path: Path, kind: str) -> None:
    addons, files, sentence = ADDONS[kind]
    server.add("org/addon", files)
    model = own(tmp_path)
    assert sentence in refusal(model, addons("org/addon"))
    assert sentence in refusal(model, addons(str(write(tmp_path / "addon", files))))


@pytest.mark.parametrize(
    ("addons", "sentence"),
    [
        (Addons(lora="nowhere"), "no such lora: nowhere"),
        (Addons(lora="no/where.safetensors"), "no such lora: no/where.safetensors"),
        (Addons(lora="no/where.pt"), "where.pt is a pickle"),
        (Addons(embeddings=("nowhere",)), "no such embedding: nowhere"),
        (Addons(autoencoder="nowhere"), "no such autoencoder: nowhere"),
        (Addons(lora="org/gated"), "lora org/gated: its publisher has gated it"),
        (Addons(autoencoder="org/gated"), "autoencoder org/gated: its publisher has gated it"),
        (Addons(embeddings=("org/nothing",)), "no such repository"),
    ],
)
def test_addons_that_are_not_there(
    server: Hub, tmp_path: Path, addons: Addons, sentence: str
) -> None:
    server.refusals["org/gated"] = (403, {"X-Error-Code": "GatedRepo"})
    assert sentence in refusal(own(tmp_path), addons)


def test_the_autoencoder_of_a_shipped_model_goes_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever folder is called so, as for models."""
    (tmp_path / "clothes-128").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_autoencoder("clothes-128") == SHIPPED / "clothes-128" / "vqvae"
    with pytest.raises(ConfigError, match=r"no readable config\.json at its top"):
        find_autoencoder("cifar10-32")


def test_a_lora_of_another_ending_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"lora.gguf": LORA}) / "lora.gguf"
    assert "it must be a .safetensors file" in refusal(own(tmp_path), Addons(lora=str(path)))


def test_an_addon_of_no_commit_is_told_the_one_to_name(server: Hub, tmp_path: Path) -> None:
    server.add("org/one", {"mine.safetensors": LORA})
    said = refusal(own(tmp_path), Addons(lora="org/one"))
    assert f"name its commit, so that images can be rebuilt: org/one@{COMMIT}" in said
