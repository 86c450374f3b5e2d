"""Which controller finds the best candidate of a published table, beside Optuna's samplers.

    python benchmarks/search_quality.py --table nasbench201.csv.gz --key ops --sizes 5,5,5,5,5,5 \\
        --reward c10_valid_12 --report c10_test_200 --evaluations 100,300,500 --seeds 100

A controller sees the sizes of the decisions, and the reward of what it proposed; reported is
another column, of the best candidate by reward. Candidates are proposed and told of in batches,
as many workers would; one that was proposed before counts as an evaluation. A policy is updated
whenever its own batch is full, the others after each batch. A controller is a name with keys of
its configuration: ``evolution:population=30:tournament=10``.

Exits 1 where none of ours is as good as TPE at the first number of evaluations. The peers need
the extra `test`.
"""

import argparse
import functools
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.tables import Table, read_table
from pipeline.config.controllers import ControllerConfig, PolicyGradientConfig
from pipeline.config.search import make_config
from pipeline.config.tables import parse_assignments
from pipeline.errors import UserError

OURS = (
    "random,reinforce,reinforce:preset=small-budget,ppo,ppo:preset=small-budget,"
    "evolution,evolution:preset=small-budget,predictor"
)
PEERS = "tpe,optuna-random"


@dataclass(frozen=True)
class Run:
    """One search: what was reported after each number of evaluations, and whether it was best."""

    reports: tuple[float, ...]
    met: tuple[bool, ...]
    seconds: float  # of CPU


# (actions of a batch, told back at the next call) of one search
Batches = Iterator[list[tuple[int, ...]]]


# --- who searches --------------------------------------------------------------------------


def controller_config(spec: str, batch: int) -> ControllerConfig:
    """A controller's configuration; its version is a batch, unless it says otherwise."""
    name, *assignments = spec.split(":")
    tables = {"name": name, **parse_assignments(assignments)}
    config = make_config({"controller": tables}).controller
    if isinstance(config, PolicyGradientConfig) or "batch" in tables:
        return config
    return make_config({"controller": {**tables, "batch": batch}}).controller


def ours(spec: str, table: Table, seed: int, batch: int, evaluations: int) -> Batches:
    """A controller of ours, asked as the tasks ask it."""
    from pipeline.controllers import Outcome, Proposed, make_controller

    config = controller_config(spec, batch)
    controller = make_controller(config, table.space, seed=seed)
    proposed: list[Proposed] = []
    unlearned: list[Outcome] = []
    stored = 0  # of this version
    while len(proposed) < evaluations:
        count = min(batch, evaluations - len(proposed))
        proposals = controller.sample(stored, count, proposed)
        yield [p.actions for p in proposals]
        stored += count
        for p in proposals:
            reward = table.reward(p.actions)
            proposed.append(Proposed(p.actions, table.space.digest(p.actions), reward))
            unlearned.append(Outcome(p.actions, p.log_probs, reward))
        while len(unlearned) >= config.batch:
            controller.update(unlearned[: config.batch])
            del unlearned[: config.batch]
            stored = 0


def optuna_s(name: str, table: Table, seed: int, batch: int, evaluations: int) -> Batches:
    """A sampler of Optuna, with its defaults."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler: optuna.samplers.BaseSampler
    if name == "tpe":
        sampler = optuna.samplers.TPESampler(seed=seed)
    else:
        sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        decision.kind: optuna.distributions.CategoricalDistribution(range(decision.choices))
        for decision in table.space.decisions
    }
    done = 0
    while done < evaluations:
        trials = [study.ask(distributions) for _ in range(min(batch, evaluations - done))]
        actions = [tuple(trial.params[kind] for kind in distributions) for trial in trials]
        yield actions
        for trial, row in zip(trials, actions, strict=True):
            study.tell(trial, table.reward(row))
        done += len(trials)


# --- what is measured ----------------------------------------------------------------------

_table: Table  # of a worker process


def begin(arguments: dict[str, Any]) -> None:
    """Be a worker process: one thread, the table read once."""
    global _table
    import torch

    torch.set_num_threads(1)
    _table = read_table(**arguments)


def search(
    searcher: Callable[..., Batches], name: str, batch: int, evaluations: Sequence[int], seed: int
) -> Run:
    """One search from start to end."""
    rewards: list[float] = []
    reports: list[float] = []
    start = time.process_time()
    for actions in searcher(name, _table, seed, batch, evaluations[-1]):
        for row in actions:
            rewards.append(_table.reward(row))
            reports.append(_table.rows.get(row, (0, math.nan))[1])
    seconds = time.process_time() - start
    best = [max(range(count), key=rewards.__getitem__) for count in evaluations]
    return Run(
        tuple(reports[b] for b in best), tuple(rewards[b] == _table.best for b in best), seconds
    )


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), error


def line(name: str, batch: int, runs: Sequence[Run]) -> str:
    """A row of the printed table."""
    cells = []
    for reports, met in zip(
        zip(*(run.reports for run in runs), strict=True),
        zip(*(run.met for run in runs), strict=True),
        strict=True,
    ):
        mean, error = mean_and_error(reports)
        cells.append(f"{mean:.3f} ± {error:.3f} ({100 * statistics.fmean(met):.0f} %)")
    seconds = statistics.median(run.seconds for run in runs)
    return f"| {name} | {batch} | {' | '.join(cells)} | {seconds:.2f} |"


def compare(ours: dict[str, list[Run]], tpe: Sequence[Run], evaluations: Sequence[int]) -> bool:
    """Print how far the best of ours is ahead of TPE; whether it is at the first number."""
    ahead = True
    for n, count in enumerate(evaluations):
        peer, peer_error = mean_and_error([run.reports[n] for run in tpe])
        best = max(ours, key=lambda name: statistics.fmean(run.reports[n] for run in ours[name]))
        mean, error = mean_and_error([run.reports[n] for run in ours[best]])
        errors = (mean - peer) / (math.hypot(error, peer_error) or math.nan)
        print(f"after {count}: {best} - TPE = {mean - peer:+.3f} ({errors:+.1f} standard errors)")
        ahead = ahead and (n > 0 or mean >= peer)
    return ahead


def numbers(text: str) -> list[int]:
    """1,10,20"""
    return [int(number) for number in text.split(",")]


def words(text: str) -> list[str]:
    """a,b; nothing for an empty text."""
    return [word for word in text.split(",") if word]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="CSV with a header; .gz, too")
    parser.add_argument("--key", type=words, required=True, help="column(s) of the choices")
    parser.add_argument("--sizes", type=numbers, required=True, help="choices of each decision")
    parser.add_argument("--reward", required=True, help="column that the controllers see")
    parser.add_argument("--report", required=True, help="column that is reported")
    parser.add_argument("--evaluations", type=numbers, default=[100, 300, 500])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0, help="tune on others than you report")
    parser.add_argument("--batch", type=numbers, default=[1, 10, 20], help="proposed at a time")
    parser.add_argument("--controllers", type=words, default=words(OURS))
    parser.add_argument("--peers", type=words, default=words(PEERS), help="'' for none")
    parsed = parser.parse_args(arguments)
    parsed.evaluations.sort()
    if unknown := set(parsed.peers) - set(words(PEERS)):
        parser.error(f"--peers: {', '.join(sorted(unknown))}; there are: {PEERS}")
    return parsed


def main() -> int:
    """Print a row for each controller and batch."""
    given = parse()
    table = dict(
        path=given.table,
        key=given.key,
        sizes=given.sizes,
        reward=given.reward,
        report=given.report,
    )
    for name in given.controllers:
        controller_config(name, 1)
    read = read_table(**table)
    print(f"{len(read.rows):,} candidates, seeds {given.first_seed} to ", end="")
    print(f"{given.first_seed + given.seeds - 1}: mean ± standard error (best met), CPU seconds")
    print(f"| controller | batch | {' | '.join(map(str, given.evaluations))} | s a run |")
    print(f"|---|---|{'---|' * len(given.evaluations)}---|")
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    searchers = [(ours, name) for name in given.controllers]
    searchers += [(optuna_s, name) for name in given.peers]
    workers = ProcessPoolExecutor(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=begin,
        initargs=(table,),
    )
    ahead = True
    with workers:
        for batch in given.batch:
            runs: dict[str, list[Run]] = {}
            for searcher, name in searchers:
                one = functools.partial(search, searcher, name, batch, given.evaluations)
                runs[name] = list(workers.map(one, seeds))
                print(line(name, batch, runs[name]), flush=True)
            found = {name: runs[name] for name in given.controllers}
            if found and "tpe" in runs:
                ahead = compare(found, runs["tpe"], given.evaluations) and ahead
    return 0 if ahead else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
