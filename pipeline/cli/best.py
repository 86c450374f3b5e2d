"""A search's best genotypes, as commands print them."""

from typing import Any

from pipeline.cli.output import print_rows, say
from pipeline.cli.watch import View

COLUMNS = ["rank", "digest", "reward", "reward_kind", "accuracy", "parameters", "macs", "found"]
COLUMNS += ["stopped_epoch", "failure"]


def best_rows(rows: list[Any], search: str | None, *, first: int = 1) -> list[dict[str, object]]:
    """Genotypes as they are printed; with their rank, where they are a search's best."""
    return [
        {
            **({"rank": f"{search}:{rank}"} if search else {}),
            "digest": row.digest[:12],
            "reward": row.reward,
            "reward_kind": row.reward_kind.value,
            "accuracy": row.accuracy,
            "parameters": row.parameters,
            "macs": row.macs,
            "found": row.found,
            "failure": row.failure,
            "stopped_epoch": row.stopped_epoch,
            "version": row.version,
            "k": row.k,
        }
        for rank, row in enumerate(rows, start=first)
    ]


def print_best(name: str, view: View, rows: list[dict[str, object]]) -> None:
    """The end of a search, for people."""
    now = view.progress
    say(
        f"search {name!r} {now.state}: {now.completed} children, {now.version} policy "
        f"update{'' if now.version == 1 else 's'}; best genotypes:"
    )
    print_rows(rows, COLUMNS[:-1], as_json=False)
