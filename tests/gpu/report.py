"""The results of a run as a page: Markdown, for docs/benchmarks.md.

Only the standard library is imported here: this runs before anything else is installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["NOT_A_GPU", "page"]

NOT_A_GPU = (
    "**This run was on a processor.** It shows that the commands work, and nothing about a GPU."
)

_WORKLOADS = ("one", "mixed", "range", "tiny")


def page(results: Mapping[str, Any]) -> str:
    """A section of Markdown; a step without a result has its reason instead."""
    steps = {step["name"]: step for step in results["steps"]}
    parts = [*_head(results, steps), *_steps(results["steps"])]
    parts += _checks(steps.get("device"))
    lanes = [(name[6:], step) for name, step in steps.items() if name.startswith("lanes-")]
    parts += _lanes(lanes)
    parts += _latent(steps.get("latent"))
    parts += _checkpoint(steps.get("checkpoint"))
    return "\n\n".join(parts) + "\n"


def _head(results: Mapping[str, Any], steps: Mapping[str, Any]) -> Iterator[str]:
    machine = _result(steps.get("machine"))
    card, versions = machine.get("card") or {}, machine.get("versions") or {}
    where = card.get("name") or machine.get("processor") or "an unknown machine"
    yield f"## A run on {where}"
    if str(results["device"]).startswith("cpu"):
        yield NOT_A_GPU
    facts = [f"`tests/gpu/run.sh --device {results['device']}`, {results['started']}"]
    facts += [f"{name} {versions[name]}" for name in ("diffaug", "torch") if name in versions]
    names = {"cuda": "CUDA", "cudnn": "cuDNN", "driver": "driver", "capability": "capability"}
    facts += [f"{told} {card[name]}" for name, told in names.items() if card.get(name)]
    if results.get("commit"):
        facts.append(f"commit {results['commit'][:12]}")
    if results.get("small"):
        facts.append("the least of everything (`--small`), so the numbers mean little")
    yield "; ".join(facts) + "."


def _steps(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [(f"`{step['name']}`", step["status"], f"{step['seconds']:.0f}") for step in steps]
    yield _table(("step", "status", "seconds"), rows, numbers=1)
    for step in steps:
        if step["status"] != "passed":
            last = "\n".join(step["last_lines"][-5:]).replace("```", "'''")
            yield f"`{step['name']}`: {step['status']}. Its last lines:\n\n```text\n{last}\n```"


def _checks(step: Mapping[str, Any] | None) -> Iterator[str]:
    checks = _result(step).get("checks") or []
    rows = []
    for check in checks:
        about = (f"`{check['check']}`", check["model"], check["dtype"])
        if check["error"]:
            rows.append((*about, "failed", "", "", check["error"].partition("\n")[0][:120]))
            continue
        more = ", ".join(f"{name} {value:g}" for name, value in check["more"].items())
        counts = (f"{check['equal']} of {check['rows']}", str(check["largest"]))
        rows.append((*about, "passed" if check["ok"] else "**failed**", *counts, more))
    if rows:
        yield "### On the device"
        heads = (
            "check",
            "model",
            "dtype",
            "",
            "rows as they should be",
            "largest difference, levels",
        )
        yield _table((*heads, "more"), rows)


def _lanes(lanes: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    rows = []
    for dtype, step in lanes:
        found = _result(step)
        for workload in _WORKLOADS:
            ending = "" if workload == "one" else f"_{workload}"
            cells = [_ratio(found, f"c_over_{arm}{ending}") for arm in ("a", "b", "d")]
            if any(cells):
                rows.append((dtype, workload, *cells))
    if rows:
        yield "### diffaug next to plain loops"
        yield _table(("dtype", "workload", "c/a", "c/b", "c/d"), rows, numbers=3)


def _ratio(found: Mapping[str, Any], name: str) -> str:
    if name not in found:
        return ""
    low, high = found["ranges"][name]
    return f"{found[name]:.2f} ({low:.2f} to {high:.2f})"


def _latent(step: Mapping[str, Any] | None) -> Iterator[str]:
    found = _result(step)
    if not found:
        return
    names = list(next(iter(found.values())))
    rows = [(what, *(f"{one[name]:.2f}" for name in names)) for what, one in found.items()]
    yield "### A latent model next to diffusers' pipeline"
    yield _table(("model", *names), rows, numbers=len(names))


def _checkpoint(step: Mapping[str, Any] | None) -> Iterator[str]:
    found = _result(step)
    if not found:
        return
    replay, difference = found["replay"], found["difference"]
    apart = difference.get("error") or difference.get("reason")
    if "largest" in difference:
        apart = f"{difference['largest']:.1e} ({difference['reference']})"
    peak = found["peak_memory_mib"]
    execution = found["execution"]
    cells = (
        f"{found['checkpoint']['folder']} ({found['checkpoint']['pipeline']})",
        f"{execution['dtype']}, {execution['batch_size']} a call",
        f"{found['made']} of {found['photographs']}",
        f"{found['images_a_second']:.2f}",
        f"{peak.get('card_allocated', peak['process'])} MiB",
        f"{replay['equal']} of {sum(replay.values())}",
        str(apart).partition("\n")[0],
    )
    heads = ("checkpoint", "execution", "made", "images a second", "peak memory", "replayed, equal")
    yield "### A checkpoint"
    yield _table((*heads, "largest difference to diffusers"), [cells])


def _result(step: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return (step or {}).get("result") or {}


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> str:
    """A table whose last columns are numbers."""
    rule = [":---"] * (len(heads) - numbers) + ["---:"] * numbers
    lines = [heads, rule, *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )
