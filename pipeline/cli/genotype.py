"""``nasnet genotype``: architectures, by name, digest, file or rank."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from db.schema.enums import Arm, Order, Place
from pipeline.cli import drawing
from pipeline.cli.named_genotype import GenotypeArgument, find, resolve
from pipeline.cli.network import CellsOption, ClassesOption, FiltersOption, SizeOption
from pipeline.cli.output import OUT, JsonFlag, print_json, print_rows, say

if TYPE_CHECKING:
    from pipeline.cli.named_genotype import Named
    from pipeline.exports import Exported
    from pipeline.spaces.cells.genotype import Genotype

app = typer.Typer(help="Architectures that were found, or published.", no_args_is_help=True)

OperationsOption = Annotated[
    list[str] | None, typer.Option(metavar="OPERATION", help="Such as sep_conv_5x5; repeatable.")
]
SmallOption = Annotated[float | None, typer.Option(min=0.0)]


@app.command("list")
def list_genotypes(
    search: Annotated[str, typer.Option("--search", help="Of this search.")],
    uses: OperationsOption = None,
    without: OperationsOption = None,
    place: Annotated[
        Place, typer.Option("--in", help="The cell in which they are looked for.")
    ] = Place.EITHER,
    arm: Annotated[
        Arm | None, typer.Option("--arm", help="Proposed by the policy, or not.")
    ] = None,
    min_reward: SmallOption = None,
    min_accuracy: SmallOption = None,
    max_params: SmallOption = None,
    max_macs: SmallOption = None,
    sort: Annotated[
        Order, typer.Option("--sort", help="By what; id: as they were proposed.")
    ] = Order.REWARD,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000)] = 20,
    offset: Annotated[int, typer.Option("--offset", min=0, max=2**31)] = 0,
    as_json: JsonFlag = False,
) -> None:
    """List a search's genotypes that have a reward: the best, or the smallest, first.

    What flags cannot say, `nasnet query` can.
    """
    from db.lifecycle import searches
    from db.reads import ranking
    from db.schema.session import transaction
    from pipeline.cli.home import open_store
    from pipeline.spaces.cells.genotype import operation_mask

    wanted = ranking.Filter(
        uses=operation_mask(uses or ()),
        without=operation_mask(without or ()),
        cell=place,
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


COLUMNS = ["rank", "digest", "reward", "reward_kind", "accuracy", "parameters", "macs", "found"]
COLUMNS += ["stopped_epoch", "failure"]


def best_rows(rows: list[Any], search: str | None, *, first: int = 1) -> list[dict[str, Any]]:
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


def print_best(name: str, view: Any, rows: list[dict[str, Any]]) -> None:
    """The end of a search, for people."""
    now = view.progress
    say(
        f"search {name!r} {now.state}: {now.completed} children, {now.version} policy updates; "
        f"best genotypes:"
    )
    print_rows(rows, COLUMNS[:-1], as_json=False)


@app.command()
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
    for line in _lines(found):
        typer.echo(line)
    if rows:
        typer.echo("")
        print_rows(rows, list(rows[0]), as_json=False)


def _lines(genotype: "Genotype") -> Iterator[str]:
    """What a genotype says, for people."""
    from pipeline.genotypes.differences import block_text, in_words, layer_text, macro_layer_text
    from pipeline.spaces.cells.genotype import KnownNetwork
    from pipeline.spaces.layers.genotype import LayerGenotype
    from pipeline.spaces.macro.genotype import MacroGenotype

    if isinstance(genotype, KnownNetwork):
        yield in_words(genotype)
        return
    if isinstance(genotype, LayerGenotype):
        for number, layer in enumerate(genotype.layers, start=1):
            yield f"  {layer_text(number, layer)}"
        yield f"  output = concat({', '.join(map(str, genotype.outputs))})"
        return
    if isinstance(genotype, MacroGenotype):
        yield from (
            f"  {macro_layer_text(n, la)}" for n, la in enumerate(genotype.layers, start=1)
        )
        yield f"  output = layer {len(genotype.layers)}"
        return
    for name, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
        yield f"\n{name} cell (0: previous cell, 1: the one before it)"
        for state, block in enumerate(cell.blocks, start=2):
            yield f"  {block_text(state, block)}"
        yield f"  output = concat({', '.join(map(str, cell.concat))})"


@app.command()
def export(
    genotype: GenotypeArgument,
    form: Annotated[
        str, typer.Option("--format", help="json, safetensors, onnx or pt2 (torch.export).")
    ] = "json",
    run: Annotated[
        int | None, typer.Option("--run", help="With this run's skeleton and weights.")
    ] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="With random weights, of any size.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(*OUT, help="The file; else in this folder, by digest.")
    ] = None,
    cells: CellsOption = None,
    filters: FiltersOption = None,
    size: SizeOption = None,
    classes: ClassesOption = None,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="onnx, pt2: the graph takes pixels, uint8.")
    ] = False,
) -> None:
    """Write a genotype, or a network of it with its weights.

    SEARCH:RANK is the search's own network, for its images, with the weights that it kept; --run
    is a run's. --untrained has random weights; --cells, --filters, --size and --classes, too.
    A network's file is checked: read again, it gives the same outputs to 1e-4.
    """
    from pipeline.errors import UserError
    from pipeline.exports import FORMATS, GRAPHS, write_genotype, write_network

    if form not in FORMATS:
        raise UserError(f"--format {form}: expected {', '.join(FORMATS)}")
    if normalize and form not in GRAPHS:
        raise UserError(f"--normalize: --format {form} has no graph; {' and '.join(GRAPHS)} have")
    sizes = (cells, filters, size, classes)
    _check_asked(form, run, untrained, any(value is not None for value in sizes))
    named = find(genotype)
    found = named.genotype
    path = output or Path(f"{found.digest[:12]}.{form}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    if form == "json":
        write_genotype(found, path)
        say(f"{path}: genotype {found.digest[:12]}")
        return
    exported = _network(genotype, named, run, sizes if untrained else None)
    write_network(exported, form, path, normalize=normalize)
    say(f"{path}: {found.digest[:12]}, weights: {exported.weights}; checked")


def _check_asked(form: str, run: int | None, untrained: bool, resized: bool) -> None:
    """Refuse options of which one would not be heard."""
    from pipeline.errors import UserError

    if form == "json" and (run is not None or untrained or resized):
        raise UserError("--format json has the architecture alone: choose another for a network")
    if run is not None and untrained:
        raise UserError("--run and --untrained: weights are a run's, or random")
    if resized and not untrained:
        raise UserError(
            "--cells, --filters, --size, --classes: weights belong to one size; --untrained has "
            "random ones of any"
        )


def _network(
    text: str,
    named: "Named",
    run: int | None,
    sizes: tuple[int | None, int | None, int | None, int | None] | None,
) -> "Exported":
    """The network that is meant; ``sizes`` are of an untrained one, None: it has weights."""
    from pipeline.cli import export as exports
    from pipeline.errors import UserError

    if run is not None:
        return exports.of_run(named.genotype, run)
    if sizes is not None:
        return exports.untrained(named, *sizes)
    if named.rank is None:
        raise UserError(
            f"{text}: a genotype has no weights: --run RUN or SEARCH:RANK say whose, --untrained "
            "has random ones"
        )
    from db.schema.session import transaction
    from pipeline.actions.networks import network_at

    with transaction(read_only=True) as connection:
        own = network_at(connection, named.rank)
    return exports.of_search(own)


@app.command("import")
def import_genotype(
    file: Annotated[Path, typer.Argument(help="JSON (ours or DARTS'), or our safetensors.")],
    as_json: JsonFlag = False,
) -> None:
    """Add a file's genotype to the store; weights stay in the file."""
    from db.schema import migrations
    from db.schema.session import transaction
    from pipeline.cli.home import open_home
    from pipeline.genotypes.genotype_files import read_genotype
    from tasks.runs import add_genotype

    canonical = read_genotype(file).canonical()
    open_home()
    migrations.prepare()
    with transaction() as connection:
        genotype_id = add_genotype(connection, canonical)
    if as_json:
        print_json({"digest": canonical.literal_digest, "id": genotype_id})
    else:
        typer.echo(f"genotype {canonical.literal_digest}")


def _found_rows(genotype: "Genotype") -> list[dict[str, Any]]:
    """Where a genotype was proposed; none where there is no store."""
    from pipeline.settings import get_settings

    settings = get_settings()
    if settings.database_url is None and not (settings.home / "nasnet.db").exists():
        return []
    from db.reads import queries
    from db.schema.session import transaction

    with transaction(read_only=True) as connection:
        for row in queries.genotypes_by_prefix(connection, genotype.digest):
            children = queries.children_of_genotype(connection, row.id)
            return [dict(child._mapping) for child in children]
    return []


app.command("draw")(drawing.draw)
app.command("compare")(drawing.compare)
