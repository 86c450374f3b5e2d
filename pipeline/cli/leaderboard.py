"""``nasnet leaderboard``: networks trained in full, best first."""

from typing import Annotated

import typer

from db.lifecycle import runs
from db.schema.session import transaction
from pipeline.actions.stores import open_store
from pipeline.cli.output import JsonFlag, print_rows, say
from pipeline.cli.runs_watch import run_row

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
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, help="How many to list.")
    ] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List finished retrain, transfer and baseline runs, per data set, by validation accuracy.

    The accuracy on the test images stands beside it and orders nothing. Cells are N of a stage,
    filters F of the first.
    """
    open_store()
    with transaction(read_only=True) as connection:
        found = [run_row(view) for view in runs.leaderboard(connection, limit=limit)]
    ranks: dict[str, int] = {}  # the last of each data set
    rows: list[dict[str, object]] = []
    for row in found:
        ranks[row["dataset"]] = ranks.get(row["dataset"], 0) + 1
        rows.append({**row, "rank": ranks[row["dataset"]]})
    if as_json or not rows:
        print_rows(rows, COLUMNS, as_json=as_json)
    for dataset in [] if as_json else ranks:
        typer.echo()
        say(dataset)
        print_rows([r for r in rows if r["dataset"] == dataset], COLUMNS, as_json=False)
