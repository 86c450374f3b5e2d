"""``nasnet leaderboard``: networks trained in full, best first."""

from typing import Annotated

import typer

from pipeline.cli.output import JsonFlag, print_rows, say

COLUMNS = [
    "rank",
    "run",
    "purpose",
    "network",
    "cells",
    "filters",
    "parameters",
    "macs",
    "epochs",
    "batch_size",
    "seed",
    "accuracy",
    "test_accuracy",
]


def leaderboard(
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000)] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List finished retrain, transfer and baseline runs, per data set, by validation accuracy.

    The accuracy on the test images stands beside it and orders nothing. Cells are N of a stage,
    filters F of the first.
    """
    from db.lifecycle import runs
    from db.schema.session import transaction
    from pipeline.cli.home import open_store
    from pipeline.cli.runs_watch import run_row

    open_store()
    with transaction(read_only=True) as connection:
        rows = [run_row(view) for view in runs.leaderboard(connection, limit=limit)]
    ranks: dict[str, int] = {}
    for row in rows:
        ranks[row["dataset"]] = row["rank"] = ranks.get(row["dataset"], 0) + 1
    if as_json or not rows:
        print_rows(rows, COLUMNS, as_json=as_json)
    for dataset in [] if as_json else ranks:
        typer.echo()
        say(dataset)
        print_rows([r for r in rows if r["dataset"] == dataset], COLUMNS, as_json=False)
