"""``nasnet genotype``: genotypes of a search in a list, and one of them in full."""

from typing import Annotated

import typer

from db.lifecycle import searches
from db.reads import lineage, ranking
from db.schema.enums import Arm, CellScope, Order
from db.schema.session import transaction
from pipeline.actions.genotypes import make_filter, resolve
from pipeline.actions.stores import has_store, open_store
from pipeline.cli.best import COLUMNS, best_rows
from pipeline.cli.options import (
    GenotypeArgument,
)
from pipeline.cli.output import JsonFlag, print_json, print_rows
from pipeline.settings import get_settings
from pipeline.spaces.base import Genotype
from pipeline.spaces.registry import kind_of

UsesOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OPERATION",
        help="Only those with this operation, such as sep_conv_5x5; may be given several times.",
    ),
]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OPERATION", help="Only those without this operation; may be given several times."
    ),
]
MinRewardOption = Annotated[float | None, typer.Option(min=0.0, help="Only from this reward.")]
MinAccuracyOption = Annotated[
    float | None, typer.Option(min=0.0, help="Only from this accuracy (0 to 1).")
]
MaxParamsOption = Annotated[
    float | None, typer.Option(min=0.0, help="Only up to this many parameters.")
]
MaxMacsOption = Annotated[
    float | None, typer.Option(min=0.0, help="Only up to this many multiply-adds of an image.")
]


def list_genotypes(
    search: Annotated[str, typer.Option("--search", help="The search's name.")],
    uses: UsesOption = None,
    without: WithoutOption = None,
    place: Annotated[
        CellScope, typer.Option("--in", help="The cell in which operations are looked for.")
    ] = CellScope.EITHER,
    arm: Annotated[Arm | None, typer.Option("--arm", help="Only those of this arm.")] = None,
    min_reward: MinRewardOption = None,
    min_accuracy: MinAccuracyOption = None,
    max_params: MaxParamsOption = None,
    max_macs: MaxMacsOption = None,
    sort: Annotated[
        Order,
        typer.Option(
            "--sort", help="What orders the list; id is the order they were proposed in."
        ),
    ] = Order.REWARD,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, help="How many to list.")
    ] = 20,
    offset: Annotated[
        int, typer.Option("--offset", min=0, max=2**31, help="How many to pass over first.")
    ] = 0,
    as_json: JsonFlag = False,
) -> None:
    """List a search's genotypes that have a reward: the best, or the smallest, first.

    Any other question can be asked with `nasnet query`.
    """
    wanted = make_filter(
        uses=uses or (),
        without=without or (),
        place=place,
        arm=arm,
        min_reward=min_reward,
        min_accuracy=min_accuracy,
        max_parameters=max_params,
        max_macs=max_macs,
    )
    open_store()
    with transaction(read_only=True) as connection:
        found = searches.get(connection, search)
        rows = ranking.ranked(connection, found.id, wanted, order=sort, limit=limit, offset=offset)
    # SEARCH:RANK names the best of all only
    is_plain = wanted == ranking.EVERYTHING and sort is Order.REWARD
    listed = best_rows(rows, search if is_plain else None, first=offset + 1)
    print_rows(listed, COLUMNS if is_plain else COLUMNS[1:], as_json=as_json)


def show(
    genotype: GenotypeArgument,
    as_json: JsonFlag = False,
) -> None:
    """Show a genotype: its cells or layers, and where it was found."""
    found = resolve(genotype)
    rows = _found_rows(found)
    if as_json:
        print_json({"digest": found.digest, "genotype": found.to_data(), "children": rows})
        return
    typer.echo(f"digest {found.digest}")
    for line in kind_of(found).words.lines(found):
        typer.echo(line)
    if rows:
        typer.echo("")
        print_rows(rows, list(rows[0]), as_json=False)


def _found_rows(genotype: Genotype) -> list[dict[str, object]]:
    """Where a genotype was proposed; none where there is no store."""
    if not has_store(get_settings()):
        return []
    with transaction(read_only=True) as connection:
        for row in lineage.genotypes_by_prefix(connection, genotype.digest):
            children = lineage.children_of_genotype(connection, row.id)
            return [child._asdict() for child in children]
    return []
