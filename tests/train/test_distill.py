"""Students: taught to arrive in few calls where their teachers do in many, guidance included."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import diffusers
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from diffaug.audit.replay import replay_rows
from diffaug.diffusion.denoiser import Clip, Denoiser
from diffaug.diffusion.schedule import Schedule
from diffaug.errors import ConfigError
from diffaug.manifest.part import read_metadata
from diffaug.models import find_checkpoint, load_model, read_denoiser
from diffaug.models.card import Taught
from diffaug.models.module import DiffusionModel
from diffaug.train.distill_recipe import DistillRecipe
from diffaug.train.distilling import Consistency, Progressive, Teacher, ddim_step
from diffaug.train.loop import train
from diffaug.train.task import prepare
from tests.conftest import SHARDS, Cli
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import GREY, augmented, manifest
from tests.support.training import run, same, tiny

SCHEDULE = Schedule.from_config({"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 1000})


def recipe(**fields: Any) -> DistillRecipe:
    """A distillation that takes seconds."""
    given = {"teacher": GREY, "steps": 4, "batch_size": 4, "warmup_steps": 1, "shuffle": 20}
    return DistillRecipe.of(given | fields)


def teacher(guidance: float = 1.0, gap: int = 50) -> Teacher:
    return Teacher(read_denoiser(find_checkpoint(GREY), "cpu", "float32"), guidance, gap)


def noised(count: int, t: Tensor) -> Tensor:
    random = torch.Generator().manual_seed(0)
    x_0 = torch.rand((count, 1, 32, 32), generator=random) * 2 - 1
    return SCHEDULE.add_noise(x_0, t, torch.randn(x_0.shape, generator=random))


def test_a_step_is_diffusers() -> None:
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False
    )
    scheduler.set_timesteps(50)  # each twenty after the one before
    x_t, x_0 = noised(2, torch.tensor([600, 600])), noised(2, torch.tensor([0, 0]))
    ours = ddim_step(SCHEDULE, x_t, x_0, torch.tensor([600, 600]), torch.tensor([580, 580]))
    theirs = scheduler.step(x_0, 600, x_t).prev_sample
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_an_estimate_is_guided_as_a_loop_over_the_network_guides_it() -> None:
    found, t = teacher(3.0), torch.tensor([400, 90, 400])
    x_t, classes = noised(3, t), torch.tensor([2, 7, 10])  # the last is no class
    denoiser = found.denoiser
    for place in range(3):
        one, now = x_t[place : place + 1], t[place : place + 1]
        with torch.no_grad():
            towards, away = (
                denoiser.network(one, now, torch.tensor([label])) for label in (classes[place], 10)
            )
        output = away + 3 * (towards - away)
        alone = denoiser.estimate(one, now, output)
        ours = found.estimate(x_t, t, classes)[place : place + 1]
        assert torch.allclose(ours, alone, atol=2e-4)


class Normal(torch.nn.Module):
    """The best network for standard normal data, whatever the picture: E[x_0 | x_t] = alpha x_t."""

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return SCHEDULE.alpha(t)[:, None, None, None] * x_t


def normal() -> Denoiser:
    return Denoiser(
        network=Normal(),
        schedule=SCHEDULE,
        prediction="sample",
        clip=Clip(),
        shape=(1, 4, 4),
        classes=0,
        null_class=None,
        device=torch.device("cpu"),
    )


def test_of_normal_data_the_way_ends_where_it_began() -> None:
    """The closed form: a normal sample in normal noise is as likely as itself at every time."""
    fine, t = Teacher(normal(), 1.0, 2), torch.tensor([600, 300, 50])
    x_t = torch.randn((3, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    end = fine.arrive(x_t, t, torch.zeros_like(t))
    assert torch.allclose(end, x_t, atol=0.01)
    early = fine.arrive(x_t, torch.tensor([600, 3, 1]), torch.zeros_like(t))
    assert torch.allclose(early, x_t, atol=0.01)  # which are there long before the first is


def test_what_progressive_teaches_is_where_the_teacher_arrives() -> None:
    t, x_t = torch.tensor([600, 300, 50]), torch.randn((3, 1, 4, 4))
    objective = Progressive(Teacher(normal(), 1.0, 2), (50, 600), 0.0)
    target = objective.target(DiffusionModel(normal()), x_t, t, torch.zeros_like(t))
    assert torch.allclose(target, x_t, atol=0.01)  # the closed form


def test_what_consistency_teaches_is_the_estimate_at_the_next_time() -> None:
    model, imitated = DiffusionModel(normal()), Teacher(normal(), 1.0, 50)
    objective = Consistency(imitated, (50, 600), 0.0)
    x_t, t = torch.randn((3, 1, 4, 4)), torch.tensor([600, 100, 99])
    target = objective.target(model, x_t, t, torch.zeros_like(t))
    for place, s in enumerate((550, 50, 0)):  # 49 is not taught, so the way ends
        one, now, then = x_t[[place]], t[[place]], torch.tensor([s])
        estimate = SCHEDULE.alpha(now) * one
        wanted = SCHEDULE.alpha(then) * ddim_step(SCHEDULE, one, estimate, now, then)
        assert torch.allclose(target[[place]], estimate if s == 0 else wanted, atol=1e-5)


@pytest.fixture(scope="module")
def small_teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of 8 x 8 pixels that knows little, and has a class to be guided by all the same."""
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    made = tiny(steps=60, batch_size=16, classes=10, ema_decay=0.9, learning_rate=1e-3)
    run([str(SHARDS[0])], folder, made)
    return str(folder)


def gain(objective: str, teacher: str, held_back: Path, folder: Path) -> float:
    """By how many dB a student agrees more with its teacher than the teacher itself does with as
    few calls, which is what the student begins as."""
    fields: dict[str, Any] = {"steps": 24, "batch_size": 16, "learning_rate": 3e-4}
    fields |= {"teacher_steps": 10, "strength": "0.2:0.8", "guidance": 4, "ema_decay": 0.9}
    made = recipe(objective=objective, teacher=teacher, **fields)
    source, held = [str(SHARDS[0])], [str(held_back)]
    begins = prepare(made, source, dtype="float32", device="cpu", held_back=held)
    before = begins.task.measured()
    steps = run(source, folder, made, held_back=held)
    assert before is not None
    assert steps[-1].held_back is not None
    return steps[-1].held_back - before


OBJECTIVES = pytest.mark.parametrize("objective", ["consistency", "progressive"])


@OBJECTIVES
def test_a_student_comes_nearer_to_its_teacher(
    objective: str, small_teacher: str, tmp_path: Path
) -> None:
    held_back = write_samples(tmp_path / "held.tar", fashion(20, 40))
    assert gain(objective, small_teacher, held_back, tmp_path / "out") > 2


@OBJECTIVES
@pytest.mark.proof
def test_a_student_comes_nearer_to_a_shipped_teacher(objective: str, tmp_path: Path) -> None:
    assert gain(objective, GREY, SHARDS[1], tmp_path / "out") > 0.4


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student") / "student"
    run([str(SHARDS[0])], folder, recipe(guidance=2.0))
    return folder


def test_its_card_says_what_it_was_taught(student: Path) -> None:
    checkpoint = find_checkpoint(str(student))
    assert checkpoint.card is not None
    assert checkpoint.card.taught == Taught(teacher=GREY, times=tuple(range(50, 600)), guidance=2.0)
    assert checkpoint.card.suggested == {"strength": 0.3, "steps": 20, "sampler": "ddim"}
    assert checkpoint.card.classes == find_checkpoint(GREY).card.classes  # type: ignore[union-attr]


def test_diffusers_loads_it(student: Path) -> None:
    pipeline = diffusers.DDPMPipeline.from_pretrained(student)
    ours = load_model(find_checkpoint(str(student)), _execution()).denoiser
    x_t, t = noised(2, torch.tensor([300, 300])), torch.tensor([300, 300])
    classes = torch.tensor([1, 2])
    with torch.no_grad():
        theirs = pipeline.unet(x_t, t, class_labels=classes).sample
        assert torch.allclose(ours.network(x_t, t, classes), theirs, atol=1e-4)


def _execution() -> Any:
    from diffaug.execution import Execution

    return Execution.choose(4, "float32", "cpu")


def test_told_the_class_it_has_the_guidance_it_was_taught(student: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"model": str(student), "condition": "label"}
    fields |= {"sampler": "ddim", "steps": 5}
    rows = augmented([SHARDS[0]], tmp_path / "out", **fields)
    assert set(rows["guidance"]) == {2.0}
    assert set(rows["calls"]) == {2}
    (part,) = (tmp_path / "out/manifest").glob("*.parquet")
    picked = pq.read_table(part).slice(0, 4).to_pylist()
    assert [one.verdict for one in replay_rows(picked, read_metadata(part))] == ["equal"] * 4
    plain = augmented([SHARDS[0]], tmp_path / "plain", **(fields | {"condition": "none"}))
    assert plain["guidance"].isna().all()


def test_an_edit_takes_one_row_a_call(student: Path, tmp_path: Path) -> None:
    from PIL import Image

    from diffaug.editor import PictureEditor, Source
    from diffaug.models import checkpoint_of, with_suggestions
    from diffaug.recipe import Recipe
    from diffaug.shards.reading import Label

    asked = Recipe(model=str(student), condition="label", strength=0.3)
    made = with_suggestions(asked)
    editor = PictureEditor(made, checkpoint_of(made), _execution())
    image = Image.new("L", (28, 28))
    (draft,) = editor.plan(Source(image=image, stored=image, label=Label(3)), [0])
    assert draft.edit.rows == draft.edit.trajectory.calls == 2  # type: ignore[union-attr]
    assert draft.edit.trajectory.timesteps == (300, 75)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--strength=0.8"], "strength: model {0} was taught strengths from 0.05 to 0.6, got 0.8"),
        (
            ["--strength=0.01"],
            "strength: model {0} was taught strengths from 0.05 to 0.6, got 0.01",
        ),
        (["--guidance=3"], "told the class, was taught 2 alone, got 3"),
        (["--guidance=1"], "told the class, was taught 2 alone, got 1"),
    ],
)
def test_what_it_was_not_taught_is_refused(
    flags: list[str], sentence: str, student: Path, tmp_path: Path, cli: Cli
) -> None:
    command = ("augment", SHARDS[0], tmp_path / "out", "--model", student, "--condition=label")
    said = cli(*command, *flags)
    assert said.code == 2, said
    assert sentence.format(student) in said.err
    assert not (tmp_path / "out").exists()


def test_it_draws_nothing_from_noise(student: Path, tmp_path: Path, cli: Cli) -> None:
    said = cli("sample", student, "-o", tmp_path / "x.png")
    assert said.code == 2, said
    assert "it was taught strengths up to 0.6 alone" in said.err


def test_a_resumed_one_ends_as_if_it_had_not_stopped(student: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    options = {"dtype": "float32", "device": "cpu", "checkpoint_minutes": 1e-9}
    made = recipe(guidance=2.0)
    steps = train([str(SHARDS[0])], folder, made, **options)  # type: ignore[arg-type]
    list(islice(steps, 2))
    steps.close()  # type: ignore[attr-defined]
    run([str(SHARDS[0])], folder, made, resume=True)
    same(folder, student)


def test_latents_are_those_of_the_teacher(tmp_path: Path) -> None:
    made = recipe(teacher="clothes-128", steps=1, batch_size=2, channels=3)
    run([str(SHARDS[0])], tmp_path / "out", made)
    model = load_model(find_checkpoint(str(tmp_path / "out")), _execution())
    teacher = load_model(find_checkpoint("clothes-128"), _execution())
    assert model.autoencoder is not None
    assert teacher.autoencoder is not None
    assert model.shape == teacher.shape == (3, 128, 128)
    picture = torch.zeros((1, 3, 128, 128))
    assert torch.equal(model.autoencoder.encode(picture), teacher.autoencoder.encode(picture))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"strength": "0.6:0.2"}, "strength is lo:hi"),
        ({"objective": "both"}, "objective"),
        ({"teacher": "no-such-model"}, "no-such-model"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run([str(SHARDS[0])], tmp_path / "out", recipe(**fields))


def test_a_student_teaches_nobody(student: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is a student itself"):
        run([str(SHARDS[0])], tmp_path / "out", recipe(teacher=str(student)))


def test_the_command_line_distils(tmp_path: Path, cli: Cli) -> None:
    flags = ["--steps=2", "--batch-size=4", "--held-back", SHARDS[1], "--objective=progressive"]
    said = cli("distill", GREY, SHARDS[0], tmp_path / "out", *flags)
    assert said.code == 0, said
    assert "step 2: held-out agreement with the teacher " in said.err
    assert f"--model {tmp_path / 'out'}" in said.err
    card = find_checkpoint(str(tmp_path / "out")).card
    assert card is not None
    assert card.taught == Taught(teacher=GREY, times=tuple(range(50, 600)), guidance=1.0)
    said = cli("augment", SHARDS[0], tmp_path / "augmented", "--model", tmp_path / "out")
    assert said.code == 0, said
    rows = manifest(tmp_path / "augmented")
    assert (set(rows["t_start"]), set(rows["calls"])) == ({300}, {2})
    said = cli("distill", GREY, SHARDS[0])
    assert said.code == 2
    assert "distill requires TEACHER SOURCE... CHECKPOINT" in said.err


def test_a_card_that_is_no_card_is_one_sentence() -> None:
    wrong: list[dict[str, Any]] = [{"times": "5"}, {"times": []}, {"guidance": 2}]
    for fields in [*wrong, {"times": [1], "guidance": "a"}]:
        with pytest.raises(ConfigError, match="a card's taught must have times"):
            Taught.of(fields)
    assert Taught.of(None) is None


def test_times_are_those_of_the_strengths() -> None:
    assert recipe(strength="0.1:0.5").span(1000) == (100, 500)
    assert recipe(strength="0.01:0.02").span(10) == (1, 2)
