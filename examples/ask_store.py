"""Ask a finished search what it found: ``python examples/ask_store.py SEARCH``."""

import sys

from pipeline.errors import UserError
from pipeline.notebook import open_store

# How often the better half of the children uses an operation in normal cells.
OPERATIONS = """
    WITH halves AS (
        SELECT genotype_id, ntile(2) OVER (ORDER BY reward DESC, children.id) AS half
        FROM children JOIN searches ON searches.id = children.search_id
        WHERE searches.name = '{name}' AND reward IS NOT NULL
    )
    SELECT operation, count(*) AS uses
    FROM halves JOIN blocks ON blocks.genotype_id = halves.genotype_id
    WHERE half = 1 AND cell = 'normal'
    GROUP BY operation
    ORDER BY uses DESC, operation
"""


def main(name: str) -> None:
    """Print data frames: the best genotypes, the small and good ones, the operations."""
    store = open_store()
    search = store.search(name)
    columns = ["digest", "reward", "parameters"]
    print(search.genotypes(limit=5)[columns].to_string(index=False))
    best = search.best(1)[0]
    small = search.genotypes(min_reward=0.9 * (best.reward or 0), sort="parameters", limit=5)
    print(small[columns].to_string(index=False))
    print(store.query(OPERATIONS.format(name=search.name)).to_string(index=False))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except UserError as error:  # there is no store, or no such search
        sys.exit(str(error))
