"""``nasnet report``: a search in one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from db.schema.session import transaction
from pipeline.actions.stores import open_store
from pipeline.cli.output import OUT, say
from pipeline.errors import MachineError, UserError
from pipeline.io import files


def report(
    name: Annotated[str, typer.Argument(metavar="SEARCH", help="The search's name.")],
    out: Annotated[Path, typer.Option(*OUT, help="The file to write.")] = Path("report.html"),
) -> None:
    """Write a search's report: best genotypes, figures, configuration (extra `dashboard`).

    The file needs nothing else: it can be sent, and opened without a network.
    """
    try:
        from pipeline.report import make_report  # an extra
    except ImportError as error:
        raise UserError(
            f"a report needs the extra `dashboard` ({error.name} is missing): "
            "pip install 'nasnet-pipeline[dashboard]'"
        ) from None
    if out.suffix.lower() not in {".html", ".htm"}:
        raise UserError(f"{out}: expected a name that ends in .html")
    if not out.parent.is_dir():
        raise UserError(f"{out}: there is no folder {out.parent}")
    open_store()
    with transaction(read_only=True) as connection:
        text = make_report(connection, name)
    try:
        files.write(str(out), memoryview(text.encode()))
    except MachineError as error:
        raise UserError(str(error)) from None
    say(f"{out}: {len(text) / 1e6:.1f} MB")
