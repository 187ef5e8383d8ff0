"""A masked language model trained on one's own texts: saved, resumed, and used."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForMaskedLM, AutoTokenizer

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models import find_checkpoint
from diffaug.shards import ShardWriter
from diffaug.train.data import Position, batches
from diffaug.train.loop import train
from diffaug.train.text_recipe import TextRecipe
from diffaug.train.text_task import TextTask
from diffaug.train.tokenizer import make_tokenizer
from tests.conftest import Cli
from tests.support.forks import Forks
from tests.support.language_models import SENTENCES, bert
from tests.support.training import run, same

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "model.safetensors"
FIELDS = {
    "width": 32,
    "layers": 2,
    "length": 32,
    "pieces": 400,
    "steps": 6,
    "batch_size": 4,
    "warmup_steps": 2,
    "shuffle": 20,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.tar"
    with path.open("wb") as stream:
        tar = ShardWriter(stream)
        for number in range(24):
            tar.add(f"{number:04d}.txt", SENTENCES[number % len(SENTENCES)].encode())
            tar.add(f"{number:04d}.cls", str(number % 3).encode())
        tar.close()
    return path


@pytest.fixture(scope="module")
def told(source: Path, forked: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three classes, trained by the command."""
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in FIELDS.items()]
    flags += ["--medium=text", "--classes=3", f"--held-back={source}", "--preview-steps=3"]
    forked("train", source, folder, *flags).check_returncode()
    return folder


def test_the_tokenizer_has_pieces_that_come_twice_and_a_sign_for_each_class() -> None:
    tokenizer = make_tokenizer(["one two two three three three"], 400, 2)
    pieces = set(tokenizer.get_vocab())
    assert {"\u0120two", "\u0120three", "[CLASS0]", "[CLASS1]", "[MASK]"} <= pieces
    assert "\u0120one" not in pieces
    ids = tokenizer("Two three")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "\u0120two", "\u0120three", "[SEP]"]
    assert len(make_tokenizer(SENTENCES, 280, 0)) == 280


def test_the_same_texts_give_the_same_tokenizer_in_another_process() -> None:
    code = (
        "from diffaug.train.tokenizer import make_tokenizer\n"
        "from tests.support.language_models import SENTENCES\n"
        "print(make_tokenizer(SENTENCES, 400, 2).backend_tokenizer.to_str())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert found.removesuffix("\n") == make_tokenizer(SENTENCES, 400, 2).backend_tokenizer.to_str()


def test_batches_hold_whole_texts_and_of_long_ones_so_many_tokens_in_a_row(source: Path) -> None:
    recipe = TextRecipe(**(FIELDS | {"length": 16}))
    task = TextTask.new(recipe, Execution.choose(4, "float32", "cpu"), [str(source)])
    batch = next(batches([str(source)], recipe, task.form, Position()))
    tokenizer = task.form._pieces
    for row in batch.x_0:
        assert len(row) <= 16
        text = tokenizer.written(row.tolist())
        assert any(text.replace(" ", "") in one.lower().replace(" ", "") for one in SENTENCES)
    assert batch.labels.tolist() == [0] * 4


def test_the_loss_is_the_bound_of_masked_diffusion(told: Path, source: Path) -> None:
    """Against the whole network of transformers and a loop over tokens (MDLM, eq. 8: cross entropy
    over the time, of the hidden tokens alone)."""
    recipe = TextRecipe.from_yaml(told / "training/recipe.yaml")
    execution = Execution.choose(4, "float32", "cpu")
    task = TextTask.new(recipe, execution, [str(source)], told)
    tokenizer = AutoTokenizer.from_pretrained(told)
    network = AutoModelForMaskedLM.from_pretrained(told).eval()
    rows = [tokenizer(text)["input_ids"] for text in SENTENCES[:4]]
    x_0 = torch.from_numpy(task.form.together([np.array(row) for row in rows]))
    labels, t = torch.tensor([0, 2, 3, 1]), torch.tensor([0.9, 0.5, 0.7, 0.3])
    drawn = torch.rand((4, x_0.shape[1] + 1), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = float(task.objective.at(task.trainer.ema_model.eval(), x_0, labels, t, drawn))

    total, count = 0.0, 0
    signs = [tokenizer.convert_tokens_to_ids(f"[CLASS{number}]") for number in range(3)]
    for row, label, time, values in zip(rows, labels.tolist(), t.tolist(), drawn, strict=True):
        clean = [row[0], *([signs[label]] if label < 3 else []), *row[1:]]
        own = [place for place, token in enumerate(clean) if token not in tokenizer.all_special_ids]
        hidden = [place for place in own if values[place] < time]
        noisy = [tokenizer.mask_token_id if n in hidden else token for n, token in enumerate(clean)]
        with torch.no_grad():
            logits = network(torch.tensor([noisy])).logits[0]
        for place in hidden:
            total += (
                float(functional.cross_entropy(logits[place], torch.tensor(clean[place]))) / time
            )
        count += len(own)
    assert found == pytest.approx(total / count, rel=1e-4)


def test_a_killed_training_continues_bit_for_bit(source: Path, tmp_path: Path) -> None:
    recipe, whole, cut = TextRecipe(**FIELDS, classes=3), tmp_path / "whole", tmp_path / "cut"
    run([str(source)], whole, recipe, held_back=[str(source)])
    for step in _until(3, [str(source)], cut, recipe):
        last = step
    assert last == 3
    run([str(source)], cut, recipe, resume=True)
    same(whole, cut, WEIGHTS)


def _until(count: int, source: list[str], folder: Path, recipe: TextRecipe) -> list[int]:
    """Make so many steps, each with a checkpoint, and stop."""
    steps = train(source, folder, recipe, dtype="float32", device="cpu", checkpoint_minutes=1e-9)
    return [step.step for step in islice(steps, count)]


def test_it_says_how_well_held_out_texts_are_predicted(source: Path, tmp_path: Path) -> None:
    recipe = TextRecipe(**(FIELDS | {"steps": 60, "learning_rate": 0.01}))
    steps = run([str(source)], tmp_path / "c", recipe, held_back=[str(source)], preview_steps=30)
    first, last = (step.held_back for step in steps if step.held_back is not None)
    assert first is not None
    assert last is not None
    assert last < first < 6  # about the logarithm of the pieces, when nothing is learned
    written = (tmp_path / "c/training/reconstructions-000060.txt").read_text()
    assert written.count("  0.3: ") == written.count("  0.6: ") == 4


def test_it_is_a_folder_that_transformers_loads_and_texts_are_drawn_from(
    told: Path, tmp_path: Path, cli: Cli
) -> None:
    assert AutoModelForMaskedLM.from_pretrained(told).config.num_hidden_layers == 2
    card = find_checkpoint(str(told)).card
    assert card is not None
    assert (card.classes, card.suggested["sampler"]) == (("0", "1", "2"), "random")
    assert card.lengths == tuple(sorted(card.lengths))
    few, many = tmp_path / "few.txt", tmp_path / "many.txt"
    for number, path in ((3, few), (5, many)):
        drawn = cli("sample", told, "-o", path, "-n", str(number), "--label", "all")
        assert drawn.code == 0, drawn
    assert many.read_text().splitlines()[:3] == few.read_text().splitlines()
    assert cli("sample", told, "-o", tmp_path / "x.tar", "-n", "4").code == 0
    refused = cli("sample", told, "-o", tmp_path / "x.png")
    assert refused.code == 2
    assert "use .txt for texts" in refused.err


def test_the_class_is_what_copies_are_told(
    told: Path, source: Path, tmp_path: Path, cli: Cli
) -> None:
    flags: list[str | Path] = ["--model", told, "--condition=label", "--strength=0.9"]
    assert cli("augment", source, tmp_path / "out", *flags).code == 0
    without: list[str | Path] = ["--model", told, "--strength=0.9"]
    assert cli("augment", source, tmp_path / "other", *without).code == 0
    one, other = (next((tmp_path / name / "shards").iterdir()) for name in ("out", "other"))
    assert one.read_bytes() != other.read_bytes()


def test_it_begins_with_a_model_and_adds_classes(source: Path, tmp_path: Path) -> None:
    begun = bert(tmp_path / "bert")
    recipe = TextRecipe(**FIELDS, init=str(begun), classes=2, unlabelled="keep")
    with pytest.raises(ConfigError, match="no text of the source can be used, with a class"):
        run([str(source)], tmp_path / "no", recipe.model_copy(update={"label_key": "txt"}))
    run([str(source)], tmp_path / "c", recipe.model_copy(update={"classes": 3}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "c")
    assert tokenizer("the")["input_ids"] == AutoTokenizer.from_pretrained(begun)("the")["input_ids"]
    assert tokenizer.convert_tokens_to_ids("[CLASS2]") == len(tokenizer) - 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--medium=text", "--size=32"], "--size is for images: leave it out with --medium text"),
        (["--width=32"], "--width is for texts: give --medium text, or leave it out"),
        (["--medium=text", "--text-key=json:words"], "no text in the source can be read"),
    ],
)
def test_what_a_training_on_texts_has_not_is_refused(
    flags: list[str], said: str, source: Path, tmp_path: Path, cli: Cli
) -> None:
    refused = cli("train", source, tmp_path / "c", *flags)
    assert refused.code == 2
    assert said in refused.err.replace("\n", " ")
