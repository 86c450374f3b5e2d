"""The same search with several controllers, compared.

``python examples/compare_controllers.py PRESET|FILE.toml CONTROLLER...``, such as
``digits evolution random``. It runs one search for each controller; typed again it goes on.
"""

import subprocess
import sys
from pathlib import Path

from pipeline.notebook import open_store

COMPARISON = """
    SELECT searches.name AS search, count(*) AS children, avg(reward) AS mean, max(reward) AS best
    FROM children JOIN searches ON searches.id = children.search_id
    WHERE reward IS NOT NULL AND searches.name IN ({names})
    GROUP BY searches.name
    ORDER BY mean DESC
"""


def main(source: str, controllers: list[str]) -> None:
    """Run a search for each controller, then print their rewards."""
    names = [f"{Path(source).stem}-{controller}" for controller in controllers]
    for name, controller in zip(names, controllers, strict=True):
        chosen = f"controller.name={controller}"
        run = ["run", source, "--name", name, "--set", chosen]
        subprocess.run([sys.executable, "-m", "pipeline.cli", *run], check=True)
    quoted = ", ".join(f"'{name}'" for name in names)
    print(open_store().query(COMPARISON.format(names=quoted)).to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
