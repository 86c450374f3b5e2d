"""Which controller finds the best cells where each child is really trained.

    python benchmarks/trained_controllers.py --home FOLDER
    python benchmarks/trained_controllers.py --home FOLDER --figure docs/images/controllers.png

Searches of the preset `digits` with cells of two blocks, two epochs a child and not five, so that
accuracies differ: each controller with each seed, as many completed children. A search that
FOLDER has goes on, or is only read: start it again after whatever happened. A figure needs the
extras `dashboard` and `test`, and Chromium.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTROLLERS = {
    "random": {"controller.name": "random"},
    "ppo": {"controller.name": "ppo", "controller.preset": "small-budget"},
    "evolution": {"controller.name": "evolution", "controller.preset": "small-budget"},
}
BATCH = 10
WINDOW = 20  # children of a moving mean
# of the policy, in the order they were proposed
REWARDS = """
    SELECT searches.name AS name, children.reward AS reward
    FROM children JOIN searches ON searches.id = children.search_id
    WHERE children.reward IS NOT NULL ORDER BY searches.id, children.version, children.k
"""


def nasnet(home: Path, *arguments: str) -> str:
    """A command of the package in that home; its progress is shown where it prints no JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        env={**os.environ, "NASNET_HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.PIPE if "--json" in arguments else None,
        text=True,
        check=True,
    )
    return done.stdout or ""


def search(home: Path, controller: str, seed: int, children: int) -> None:
    """Run one search to its end."""
    keys = {
        "seed": seed,
        "mode": "synchronous",
        "controller.batch": BATCH,
        "space.blocks": 2,
        "training.epochs": 2,
        "budget.children": children,
        **CONTROLLERS[controller],
    }
    sets = [f"--set={key}={value}" for key, value in keys.items()]
    nasnet(home, "run", "digits", "--name", f"{controller}-{seed}", *sets)


def rewards(home: Path) -> dict[str, list[list[float]]]:
    """By controller, the rewards of each seed's children."""
    of_search: dict[str, list[float]] = {}
    for row in json.loads(nasnet(home, "query", REWARDS, "--json")):
        of_search.setdefault(row["name"], []).append(row["reward"])
    found: dict[str, list[list[float]]] = {}
    for name, children in sorted(of_search.items()):
        found.setdefault(name.rpartition("-")[0], []).append(children)
    return found


def table(found: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Mean and range over the seeds: the best child, the best five, the last children."""
    columns = {
        "best": max,
        "mean of the best 5": lambda rewards: statistics.fmean(sorted(rewards)[-5:]),
        f"mean of the last {WINDOW}": lambda rewards: statistics.fmean(rewards[-WINDOW:]),
        "mean of all": statistics.fmean,
    }
    lines = [f"| controller | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in CONTROLLERS:
        cells = []
        for column in columns.values():
            values = [column(list(seed)) for seed in found.get(name, ())]
            if values:
                spread = f"{min(values):.3f} to {max(values):.3f}"
                cells.append(f"{statistics.fmean(values):.3f} ({spread})")
        if cells:
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found: Mapping[str, Sequence[Sequence[float]]], path: Path) -> None:
    """Each controller's best so far, and the mean of its last children; means over the seeds."""
    import plotly.graph_objects as go

    from pipeline.plots import Figure
    from pipeline.plots.theme import titled

    sys.path.insert(0, str(ROOT / "docs"))
    from figures import photograph

    traces = []
    for colour, (name, seeds) in zip(
        ("#767676", "#0072b2", "#d55e00"), found.items(), strict=False
    ):
        count = min(map(len, seeds))
        best = [statistics.fmean(max(s[: n + 1]) for s in seeds) for n in range(count)]
        late = [
            statistics.fmean(statistics.fmean(s[max(0, n + 1 - WINDOW) : n + 1]) for s in seeds)
            for n in range(count)
        ]
        x = list(range(1, count + 1))
        group = dict(x=x, mode="lines", legendgroup=name, legendgrouptitle=dict(text=name))
        solid, dotted = dict(color=colour), dict(color=colour, dash="dot")
        traces.append(go.Scatter(y=best, name="best so far", line=solid, **group))
        traces.append(go.Scatter(y=late, name=f"mean of the last {WINDOW}", line=dotted, **group))
    figure = titled(Figure(traces), "Reward over trained children, mean of the seeds", height=440)
    figure.update_xaxes(title="children", rangemode="tozero").update_yaxes(title="reward")
    photograph({path.stem: figure})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="where the searches are")
    parser.add_argument("--children", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--figure", type=Path, help="a PNG in docs/images")
    given = parser.parse_args()
    for seed in range(given.seeds):
        for controller in CONTROLLERS:
            search(given.home.absolute(), controller, seed, given.children)
    found = rewards(given.home.absolute())
    print(table(found))
    if given.figure is not None:
        sys.path.insert(0, str(ROOT))
        draw(found, given.figure)


if __name__ == "__main__":
    main()
