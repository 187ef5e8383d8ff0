"""The demo: the flow `augment-dataset` on shards of photographs, with a server of its own.

Run by `make demo`. Everything it makes is in `demo-output/`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "demo-output"
SOURCE = f"{ROOT}/tests/fixtures/stamps-{{000000..000001}}.tar"
MODEL = "cifar10-32"
COLUMNS = ["source_key", "copy", "label_text", "strength", "calls", "score_ssim", "status"]


def main() -> None:
    """Run the flow, then print what came out and where it is."""
    sys.path.insert(0, str(ROOT))
    from flows.server import prefect_server

    os.chdir(ROOT)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    print("Starting a Prefect server for this demo ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="diffaug-prefect-") as home:
        os.environ |= {"PREFECT_HOME": home, "PREFECT_LOGGING_TO_API_ENABLED": "false"}
        os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": "INFO"}
        os.environ["PREFECT_UI_URL"] = ""  # no link to a server that ends with the demo
        with prefect_server(Path(home), OUTPUT / ".prefect-server.log") as url:
            os.environ["PREFECT_API_URL"] = url
            seconds = _run_flow()
    _show(seconds)


def _run_flow() -> float:
    """Run the flow in this process; return the seconds that the run took."""
    from diffaug import Recipe
    from flows.augment_dataset import augment_dataset

    recipe = Recipe(
        model=MODEL,
        condition="label",
        guidance=3.0,
        strength=(0.2, 0.4, 0.6),
        copies=3,
        steps=20,
        carry=("txt",),
    )
    started = time.monotonic()
    augment_dataset(source=SOURCE, output=str(OUTPUT), recipe=recipe)
    return time.monotonic() - started


def _show(seconds: float) -> None:
    import pandas as pd

    from diffaug import summarise
    from diffaug.report import contact_sheet

    summary = summarise(str(OUTPUT))
    sheet = OUTPUT / "report" / "contact-sheet.png"
    contact_sheet(str(OUTPUT), sheet)
    manifest = pd.read_parquet(OUTPUT / "manifest")
    print()
    print(summary)
    print(f"{summary.planned / seconds:.1f} images a second, including model loading and Prefect")
    print(f'\n>>> pandas.read_parquet("{OUTPUT.name}/manifest")[{COLUMNS}].head(6)')
    print(manifest[COLUMNS].head(6).to_string())
    print()
    print(f"augmented shards   {OUTPUT.name}/shards/     (listed in {OUTPUT.name}/shards.txt)")
    print(f"manifest           {OUTPUT.name}/manifest/   ({len(manifest.columns)} columns)")
    print(f"contact sheet      {sheet.relative_to(ROOT)}")
    print(f"report             {OUTPUT.name}/report/index.html   (open it in a browser)")


if __name__ == "__main__":
    main()
