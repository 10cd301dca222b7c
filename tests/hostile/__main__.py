"""Attacks the command and the library with hostile input: ``python tests/hostile --count 1000``.

Each case runs in a child of its own, with limits on memory and time. The seed and the number of a
case repeat it: ``--seed 0 --only run.json --case 17``.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "NO_COLOR": "1"}

import torch
from attack import Maker, Outcome, run_case
from targets import imported_by, in_child, make_targets

torch.set_num_threads(1)


def makers() -> dict[str, Maker]:
    """All classes of hostile input."""
    import array_inputs
    import data_inputs
    import reader_inputs
    import run_inputs
    import word_inputs

    modules = (run_inputs, word_inputs, data_inputs, reader_inputs, array_inputs)
    return {name: maker for module in modules for name, maker in module.MAKERS.items()}


def attack(cases: list[tuple[str, int]], seed: int, targets: Path, results: Path) -> None:
    """Run cases one after another, and append their outcomes to a file."""
    chosen = makers()
    with results.open("a") as lines:
        for kind, number in cases:
            place = Path(tempfile.mkdtemp(dir=targets.parent))
            outcome = run_case(kind, chosen[kind], number, seed, targets, place)
            lines.write(json.dumps(vars(outcome)) + "\n")
            lines.flush()
            os.chdir(targets.parent)
            shutil.rmtree(place, ignore_errors=True)


def table(outcomes: list[Outcome], kinds: list[str]) -> str:
    """One row for each class."""
    rows = ["| class | cases | refused | accepted | failures | longest | most memory |"]
    rows.append("|---|---|---|---|---|---|---|")
    for kind in [*kinds, "all"]:
        own = [outcome for outcome in outcomes if kind in (outcome.kind, "all")]
        refused = sum(outcome.code == 2 for outcome in own)
        accepted = sum(outcome.code == 0 for outcome in own)
        failed = sum(bool(outcome.faults) for outcome in own)
        longest = max((outcome.seconds for outcome in own), default=0)
        memory = max((outcome.megabytes for outcome in own), default=0)
        numbers = f"{len(own):,} | {refused:,} | {accepted:,} | {failed}"
        rows.append(f"| {kind} | {numbers} | {longest:.1f} s | {memory:.0f} MB |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="cases over all classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a class; may be repeated")
    parser.add_argument("--case", type=int, help="one case of --only, with all that it prints")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--folder", type=Path, help="where the cases are made")
    parser.add_argument("--json", type=Path, help="keep every outcome in this file")
    options = parser.parse_args()
    known = makers()
    kinds = options.only or list(known)
    if unknown := set(kinds) - set(known):
        parser.error(f"unknown class {', '.join(unknown)}; there are {', '.join(known)}")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="hostile-") as folder:
        targets = Path(folder).resolve() / "targets"
        targets.mkdir()
        imported_by(make_targets, targets)
        if options.case is not None:
            cases = [(kinds[0], options.case)]
        else:
            cases = [(kinds[i % len(kinds)], i // len(kinds)) for i in range(options.count)]
        results = (options.json or Path(folder) / "results.jsonl").resolve()
        results.write_text("")
        outcomes = run_all(cases, options.seed, targets, options.jobs, results)
    report(outcomes, kinds, options.seed, show=options.case is not None)


def run_all(
    cases: list[tuple[str, int]], seed: int, targets: Path, jobs: int, results: Path
) -> list[Outcome]:
    """Share the cases between processes; the outcomes in the order in which they came."""
    children = []
    for job in range(jobs):
        child = os.fork()
        if not child:
            os._exit(in_child(attack, cases[job::jobs], seed, targets, results))
        children.append(child)
    broken = [os.waitpid(child, 0)[1] for child in children]
    outcomes = [Outcome(**json.loads(line)) for line in results.read_text().splitlines()]
    if any(broken) or len(outcomes) < len(cases):
        sys.exit(f"expected {len(cases)} outcomes; got {len(outcomes)}. The attack itself failed.")
    return outcomes


def report(outcomes: list[Outcome], kinds: list[str], seed: int, *, show: bool) -> None:
    failures = [outcome for outcome in outcomes if outcome.faults]
    for outcome in failures if not show else outcomes:
        print(f"--seed {seed} --only={outcome.kind!r} --case {outcome.number}: {outcome.faults}")
        print(f"  priorwise {outcome.arguments[:300]}")
        words = outcome.printed if show else outcome.printed[-400:].replace("\n", "\n    ")
        print(f"    {words.encode('ascii', 'backslashreplace').decode()}")
    print(table(outcomes, kinds))
    for words, count in Counter(fault for one in failures for fault in one.faults).most_common():
        print(f"{count} x {words}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
