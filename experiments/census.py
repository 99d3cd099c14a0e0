"""Which models take which encodings: every name of timm and torchvision, one by one.

    python experiments/census.py                       # all: some hours of one core; resumes
    python experiments/census.py --sample              # the smallest model of each file, minutes
    python experiments/census.py --names NAME [NAME ...]
    python experiments/census.py --table               # `docs/census.md` alone, from the lines

One line of JSON a model and kind of encoding, appended to `results/census.jsonl`; models whose
lines are there are not run again. Models are made without their weights, with images as small as
they take, in evaluation mode; each runs in a process of its own, which is ended after a time or at
a size of memory. What the columns mean is said by `docs/census.md`.
"""

import argparse
import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from experiments.surveying.models import Subject, make, subjects
from experiments.surveying.rows import rows
from experiments.surveying.table import write_page

RESULTS = Path(__file__).parent / "results" / "census.jsonl"


class Running(NamedTuple):
    """A model that is being surveyed."""

    subject: Subject
    process: Any
    lines: Connection
    found: list[dict[str, Any]]
    start: float


def survey(subject: Subject, lines: Connection) -> None:
    """In a process of its own."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for line in rows(subject):
        lines.send(line)


def run(names: list[Subject], out: Path, jobs: int, seconds: float, memory: float) -> None:
    """Surveys models, so many at a time."""
    fork = multiprocessing.get_context("fork")  # what is imported is imported once
    waiting, running, done = list(names), list[Running](), 0
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                here, there = fork.Pipe(duplex=False)
                process = fork.Process(target=survey, args=(waiting[0], there), daemon=True)
                process.start()
                there.close()
                running.append(Running(waiting.pop(0), process, here, [], time.monotonic()))
            for one in list(running):
                over, why = _over(one, seconds, memory)
                if over:
                    running.remove(one)
                    done += 1
                    _report(one, why, out, f"{done}/{len(names)}")
            time.sleep(0.02)
    finally:
        for one in running:
            one.process.kill()


def _over(one: Running, seconds: float, memory: float) -> tuple[bool, str | None]:
    """Whether a process is over, after taking what it has found; and why it was ended."""
    try:
        while one.lines.poll():
            one.found.append(one.lines.recv())
    except EOFError:
        one.process.join()
        code = one.process.exitcode
        return True, None if code == 0 else f"the process died ({code})"
    why = None
    if time.monotonic() > one.start + seconds:
        why = f"more than {seconds:.0f} s"
    elif _gigabytes(one.process.pid) > memory:
        why = f"more than {memory:g} GB"
    if why is not None:
        one.process.kill()
        one.process.join()
    return why is not None, why


def _gigabytes(process: int) -> float:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def _report(one: Running, why: str | None, out: Path, count: str) -> None:
    lines = one.found
    about = {"name": one.subject.name, "module": one.subject.module}
    if why is not None:
        lines = [*lines, {**about, "kind": "all", "outcome": "ended", "reason": why}]
    with out.open("a") as file:
        file.writelines(json.dumps(_short(line)) + "\n" for line in lines)
    bad = [
        f"{line['kind']}: {line['outcome']}: {line.get('reason')}"
        for line in lines
        if line["outcome"] not in ("accepted", "nothing there")
    ]
    took = time.monotonic() - one.start
    print(count, one.subject.name, f"{took:.1f} s", *bad[:3], sep="  ", flush=True)


def _short(line: dict[str, Any]) -> dict[str, Any]:
    """Three digits of each figure, and nothing empty."""
    return {
        key: float(f"{value:.3g}") if isinstance(value, float) else value
        for key, value in line.items()
        if value not in (None, {})
    }


def read(path: Path) -> list[dict[str, Any]]:
    """The lines that there are; of a line that was cut off, nothing."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def ordered(found: list[Subject], sizes: dict[str, int]) -> tuple[list[Subject], list[Subject]]:
    """The smallest model of each file, then all others, the small ones first.

    So a census that is cut off is still one of every file.
    """
    by_size = sorted(found, key=lambda s: (s.name.startswith("test_"), sizes.get(s.name, 0)))
    first = {s.module: s for s in reversed(by_size)}
    sample = [s for s in by_size if first[s.module] is s]
    return sample, sorted(set(found) - set(sample), key=lambda s: (sizes.get(s.name, 0), s.name))


def parameters(found: list[Subject], path: Path) -> dict[str, int]:
    """How large each model is; counted once, and kept in a file."""
    if path.exists():
        known: dict[str, int] = json.loads(path.read_text())
        return known
    sizes = {}
    for subject in found:
        try:
            sizes[subject.name] = sum(p.numel() for p in make(subject).parameters())
        except Exception as error:
            print(subject.name, "cannot be made:", error, flush=True)
    path.write_text(json.dumps(sizes))
    return sizes


def chosen(options: argparse.Namespace) -> Iterator[Subject]:
    """The models that are asked for, in order."""
    everything = subjects()
    if options.names:
        known = {s.name: s for s in everything}
        yield from (known[name] for name in options.names)
        return
    sample, others = ordered(everything, parameters(everything, options.out.with_suffix(".sizes")))
    yield from sample
    if not options.sample:
        yield from others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--names", nargs="+", metavar="NAME", help="these alone, once more")
    parser.add_argument("--sample", action="store_true", help="the smallest model of each file")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time, one core each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=900, help="a model may take")
    parser.add_argument("--memory", type=float, default=7, help="gigabytes that a model may take")
    parser.add_argument("--table", action="store_true", help="no model is run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if not options.table:
        there = set() if options.names else {line["name"] for line in read(options.out)}
        names = [s for s in chosen(options) if s.name not in there]
        run(names, options.out, options.jobs, options.seconds, options.memory)
    if options.out == RESULTS:
        write_page(read(options.out), subjects())


if __name__ == "__main__":
    main()
