"""``nasnet search export`` and ``import``: whole searches in files."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.actions.search_files import Form, export_search, import_file
from pipeline.cli.output import OUT, JsonFlag, print_json, say


def export(
    name: Annotated[str, typer.Argument(metavar="SEARCH", help="The search's name.")],
    form: Annotated[
        Form,
        typer.Option(
            "--format",
            help="jsonl: all of it, for `import`; csv and parquet: a row for each child.",
        ),
    ] = Form.JSONL,
    out: Annotated[
        Path | None,
        typer.Option(
            *OUT,
            help="The file (tensorboard: folder) to write; without it, one named by the search.",
        ),
    ] = None,
) -> None:
    """Write a search to a file, as it is at this moment; it may run meanwhile.

    A file that is there is replaced, once the new one is whole.
    """
    path = out or Path(f"{name}.{form}")
    say(f"{path}: {export_search(name, form, path):,} children")


def import_(
    file: Annotated[Path, typer.Argument(help="A file of `nasnet search export --format jsonl`.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="The search's name in this store; without it, the one it has."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Add a file's search to this store, to be read, compared and retrained from.

    All of it or nothing: a file that is refused, or a kill, leaves nothing behind. A search that
    the store has is not added again.
    """
    done = import_file(file, name)
    if as_json:
        print_json({"search": done.name, "children": done.children, "added": done.added})
    elif done.added:
        say(f"imported search {done.name!r}: {done.children:,} children")
    elif name in (None, done.name):
        say(f"search {done.name!r} is here already, with all of it: nothing was added")
    else:
        say(
            f"the file's search is here already under the name {done.name!r}, with all of it: "
            f"nothing was added; `nasnet search rename {done.name} {name}` renames it"
        )
