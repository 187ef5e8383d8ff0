"""How long the page of an output of 100,000 rows takes: to write, and for Chromium to open.

    python -m tests.benchmarks.report

An output of 80 real images is multiplied to 100,000 rows. Open means loaded, drawn, and every
picture decoded; the first of the rounds, in which the browser is fresh, is told apart.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from diffaug.report import write_report
from tests.conftest import SHARDS
from tests.support.browser import chromium
from tests.support.jobs import augmented
from tests.support.outputs import multiply

ROUNDS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out"
        frame = augmented([SHARDS[0]], output, copies=2)
        multiply(output, 100_000 // len(frame))
        started = time.perf_counter()
        page = Path(write_report(str(output)))
        print(
            f"written in {time.perf_counter() - started:.1f} s, {page.stat().st_size / 1e6:.1f} MB"
        )
        first, *others = opened(page)
        print(f"opened in {first:.2f} s at first, then in {median(others):.2f} s")


def opened(page: Path) -> list[float]:
    """Seconds, of each round."""
    found = []
    with chromium() as browser:
        for _ in range(ROUNDS):
            tab = browser.new_page()
            started = time.perf_counter()
            tab.goto(page.as_uri(), wait_until="load")
            tab.evaluate(
                "Promise.all([...document.images].filter(one => one.src).map(one => one.decode()))"
            )
            tab.evaluate("new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn)))")
            found.append(time.perf_counter() - started)
            tab.close()
    return found


if __name__ == "__main__":
    main()
