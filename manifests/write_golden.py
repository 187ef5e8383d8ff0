"""Write `golden/`, a job on the first shard of clothes: run from the checkout's root.

Only after a change that is meant to change rows, and then with a new schema version next to the old
one: later versions of diffaug must still read and replay what is there.
"""

import shutil
import socket
import tempfile
from pathlib import Path

import diffaug

GOLDEN = Path(__file__).with_name("golden")
SHARD = Path(__file__).parents[1] / "tests/fixtures/fashion-mnist-000000.tar"
SOURCE = Path("/tmp/diffaug-golden") / SHARD.name
"""Rows name their source by its whole path: one that is available anywhere."""

RECIPE = {
    **{"model": "fashion-mnist-32", "strength": (0.2, 0.4, 0.6), "copies": 3},
    **{"steps": 20, "sampler": "dpmsolver++"},
    "carry": ("txt",),
}


def place() -> None:
    """Put the source where the rows say it is, all at once.

    One that is there already is left untouched: another process may be reading it.
    """
    data = SHARD.read_bytes()
    if SOURCE.is_file() and SOURCE.read_bytes() == data:
        return
    SOURCE.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=SOURCE.parent, delete=False) as file:
        file.write(data)
    Path(file.name).replace(SOURCE)


def make(output: str) -> None:
    """Run the job in float32, which every processor can do."""
    place()
    recipe = diffaug.Recipe.of(RECIPE)
    job = diffaug.Job.plan([str(SOURCE)], output, recipe, batch_size=32, dtype="float32")
    for _ in job.run():
        pass
    job.finish()


if __name__ == "__main__":
    socket.gethostname = lambda: "golden"
    with tempfile.TemporaryDirectory() as folder:
        make(folder)
        shutil.rmtree(GOLDEN, ignore_errors=True)
        shutil.copytree(f"{folder}/manifest", GOLDEN / "manifest")
        shutil.copy(f"{folder}/run.json", GOLDEN)
