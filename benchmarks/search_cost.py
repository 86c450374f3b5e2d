"""What a child costs in images, trained and scored: NAS, NASNet and ENAS on the same data.

    python benchmarks/search_cost.py                                    # runs the small presets
    python benchmarks/search_cost.py --home ~/.nasnet --searches digits,enas-macro-digits

Needs the package alone. All numbers are the project's own counters (``runs.images_trained``,
``runs.images_scored``): what results stand on, without repeated work and without any retraining.
A scored image is a forward pass, a trained one also a backward pass: "weighed" counts a scored
one as a third. The last line of each ENAS search holds it against each of the others.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PRESETS = ("nas-digits", "digits", "enas-macro-digits", "enas-micro-digits")
COUNTS = """
    SELECT searches.name AS name, searches.config AS config,
        (SELECT count(*) FROM children WHERE children.search_id = searches.id
            AND children.reward IS NOT NULL) AS children,
        (SELECT sum(images_trained) FROM runs WHERE runs.search_id = searches.id
            AND purpose IN ('search', 'shared')) AS trained,
        (SELECT sum(images_scored) FROM runs WHERE runs.search_id = searches.id
            AND purpose IN ('search', 'score')) AS scored
    FROM searches ORDER BY searches.id
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one search, in images."""

    name: str
    shares: bool  # weights
    children: int  # that carry a reward
    trained: int
    scored: int

    @property
    def weighed(self) -> float:
        """With a scored image as a third of a trained one."""
        return self.trained + self.scored / 3


def nasnet(home: Path, *arguments: str) -> str:
    """A command of the package in a home of its own; its progress is shown."""
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    environment = {**os.environ, "NASNET_HOME": str(home)}
    wanted = subprocess.PIPE if "--json" in arguments else None
    done = subprocess.run(command, env=environment, stdout=wanted, text=True, check=True)
    return done.stdout or ""


def costs(home: Path, names: list[str]) -> list[Cost]:
    """The costs of some searches of a store."""
    found = []
    for row in json.loads(nasnet(home, "query", COUNTS, "--json")):
        if row["name"] in names:
            config = row["config"]
            config = json.loads(config) if isinstance(config, str) else config
            shares = config.get("shared") is not None
            found.append(
                Cost(row["name"], shares, row["children"], row["trained"], row["scored"] or 0)
            )
    return found


def table(found: list[Cost]) -> str:
    """What is printed: a row a search, then how ENAS compares."""
    lines = [
        "| search | children | trained, scored images a child | trained, scored images in all |",
        "|---|---|---|---|",
    ]
    for cost in found:
        child = f"{cost.trained / cost.children:,.1f}, {cost.scored / cost.children:,.1f}"
        lines.append(
            f"| {cost.name} | {cost.children:,} | {child} | {cost.trained:,}, {cost.scored:,} |"
        )
    lines += ["", "| | a child: trained, weighed | a search: trained, weighed |", "|---|---|---|"]
    for dear in (cost for cost in found if not cost.shares):
        for cheap in (cost for cost in found if cost.shares):
            search = dear.trained / cheap.trained, dear.weighed / cheap.weighed
            child = tuple(ratio * cheap.children / dear.children for ratio in search)
            ratios = [f"{a:,.3g} x, {b:,.3g} x" for a, b in (child, search)]
            lines.append(f"| {dear.name} / {cheap.name} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="a NASNET_HOME whose searches are done")
    parser.add_argument("--searches", default=",".join(PRESETS))
    given = parser.parse_args()
    names = given.searches.split(",")
    if given.home is not None:
        print(table(costs(given.home, names)))
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name in names:
            nasnet(home, "run", name, "--set", "then={}")
        print(table(costs(home, names)))


if __name__ == "__main__":
    main()
