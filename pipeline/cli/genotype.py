"""``nasnet genotype``: architectures, by name, digest, file or rank."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import JsonFlag, print_json, print_rows

if TYPE_CHECKING:
    from pipeline.genotype import CellGenotype

app = typer.Typer(help="Architectures that were found, or published.", no_args_is_help=True)

LEAST_PREFIX = 6  # letters of a digest


@app.command("list")
def list_genotypes(
    search: Annotated[str, typer.Option("--search", help="Of this search, best first.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000)] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List a search's genotypes by reward; ties by the one found first."""
    from db import queries, searches
    from db.session import transaction
    from pipeline.cli.home import open_store

    open_store()
    with transaction(read_only=True) as connection:
        found = searches.get(connection, search)
        rows = best_rows(queries.best(connection, found.id, limit=limit), search)
    print_rows(rows, COLUMNS, as_json=as_json)


COLUMNS = ["rank", "digest", "reward", "accuracy", "parameters", "macs", "found", "failure"]


def best_rows(rows: list[Any], search: str) -> list[dict[str, Any]]:
    """Ranked genotypes as they are printed."""
    return [
        {
            "rank": f"{search}:{rank}",
            "digest": row.digest[:12],
            "reward": row.reward,
            "accuracy": row.accuracy,
            "parameters": row.parameters,
            "macs": row.macs,
            "found": row.found,
            "failure": row.failure,
            "version": row.version,
            "k": row.k,
        }
        for rank, row in enumerate(rows, start=1)
    ]


def print_best(name: str, view: Any, rows: list[dict[str, Any]]) -> None:
    """The end of a search, for people."""
    now = view.progress
    typer.echo(
        f"search {name!r} {now.state}: {now.completed} children, {now.version} policy updates; "
        f"best genotypes:"
    )
    print_rows(rows, COLUMNS[:-1], as_json=False)


@app.command()
def show(
    genotype: Annotated[
        str,
        typer.Argument(
            metavar="NAME|DIGEST|FILE|SEARCH:RANK",
            help="nasnet-a, six letters or more of a digest, a JSON file, or digits:1 (the best).",
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Show a genotype: its two cells, and where it was found."""
    found = resolve(genotype)
    rows = _found_rows(found)
    if as_json:
        print_json({"digest": found.digest, "genotype": found.to_data(), "children": rows})
        return
    typer.echo(f"digest {found.digest}")
    for name, cell in (("normal", found.normal), ("reduction", found.reduction)):
        typer.echo(f"\n{name} cell (0: previous cell, 1: the one before it)")
        for b, block in enumerate(cell.blocks):
            typer.echo(
                f"  state {b + 2} = {block.left_op}({block.left_input}) {block.combine} "
                f"{block.right_op}({block.right_input})"
            )
        typer.echo(f"  output = concat({', '.join(map(str, cell.concat))})")
    if rows:
        typer.echo("")
        print_rows(rows, list(rows[0]), as_json=False)


def _found_rows(genotype: "CellGenotype") -> list[dict[str, Any]]:
    """Where a genotype was proposed; none where there is no store."""
    from pipeline.settings import get_settings

    settings = get_settings()
    if settings.database_url is None and not (settings.home / "nasnet.db").exists():
        return []
    from db import queries
    from db.session import transaction

    with transaction(read_only=True) as connection:
        for row in queries.genotypes_by_prefix(connection, genotype.digest):
            children = queries.children_of_genotype(connection, row.id)
            return [dict(child._mapping) for child in children]
    return []


def resolve(text: str) -> "CellGenotype":
    """The genotype that a word on the command line stands for.

    Raises:
        UserError: none, or more than one; says what was tried.
    """
    from pathlib import Path

    from pipeline.errors import UserError
    from pipeline.genotype import PUBLISHED, CellGenotype

    if text in PUBLISHED:
        return PUBLISHED[text]
    path = Path(text)
    if text.endswith(".json") or path.is_file():
        try:
            return CellGenotype.from_json(path.read_bytes())
        except UserError as error:
            raise UserError(f"{text}: {error}") from None
    name, colon, rank = text.rpartition(":")
    if colon:
        return _by_rank(name, rank)
    is_hex = all(c in "0123456789abcdef" for c in text)
    if len(text) >= LEAST_PREFIX and is_hex:
        return _by_digest(text)
    raise UserError(
        f"no genotype {text!r}: expected one of {', '.join(PUBLISHED)}, {LEAST_PREFIX} or more "
        "letters of a digest, a JSON file, or SEARCH:RANK"
    )


def _by_rank(name: str, rank: str) -> "CellGenotype":
    from db import queries, searches
    from db.session import transaction
    from pipeline.cli.home import open_store
    from pipeline.errors import UserError
    from pipeline.genotype import CellGenotype

    if not rank.isdigit() or not 1 <= int(rank) < 2**31:
        raise UserError(f"{name}:{rank}: a rank is a number from 1, the best")
    open_store()
    with transaction(read_only=True) as connection:
        search = searches.get(connection, name)
        rows = queries.best(connection, search.id, limit=1, offset=int(rank) - 1)
    if not rows:
        raise UserError(f"search {name!r} has fewer than {rank} genotypes with a reward")
    return CellGenotype.from_data(rows[0].body)


def _by_digest(prefix: str) -> "CellGenotype":
    from db import queries
    from db.session import transaction
    from pipeline.cli.home import open_store
    from pipeline.errors import UserError
    from pipeline.genotype import CellGenotype

    open_store()
    with transaction(read_only=True) as connection:
        rows = queries.genotypes_by_prefix(connection, prefix)
    if len(rows) != 1:
        found = "none" if not rows else "more than one"
        raise UserError(f"digest {prefix}: {found} in this store begins so")
    return CellGenotype.from_data(rows[0].body)
