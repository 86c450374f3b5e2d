"""``nasnet genotype import``: a file's architecture into the store."""

from pathlib import Path
from typing import Annotated

import typer

from db.schema import migrations
from db.schema.session import transaction
from pipeline.actions.stores import open_home
from pipeline.cli.output import JsonFlag, print_json
from pipeline.genotypes.genotype_files import read_genotype
from tasks.runs import add_genotype


def import_genotype(
    file: Annotated[
        Path,
        typer.Argument(
            help="A JSON file (ours or of DARTS), or a safetensors file that was exported."
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Add a file's genotype to the store; weights stay in the file."""
    canonical = read_genotype(file).canonical()
    open_home()
    migrations.prepare()
    with transaction() as connection:
        genotype_id = add_genotype(connection, canonical)
    if as_json:
        print_json({"digest": canonical.literal_digest, "id": genotype_id})
    else:
        typer.echo(f"genotype {canonical.literal_digest}")
