"""``nasnet preset``: the configurations that ship with the package."""

from typing import Annotated

import typer

from pipeline.cli.options import SetOption
from pipeline.cli.output import JsonFlag, print_json, print_rows
from pipeline.config.run import is_recipe, make_run_config
from pipeline.config.search import make_config
from pipeline.config.tables import (
    description,
    merge,
    parse_assignments,
    preset_names,
    preset_text,
    read_preset,
)
from pipeline.config.text import documented
from pipeline.errors import UserError

app = typer.Typer(help="The configurations that ship with the package.", no_args_is_help=True)


@app.command("list")
def list_presets(as_json: JsonFlag = False) -> None:
    """List the presets."""
    rows = []
    for name in preset_names():
        tables = read_preset(name)
        recipe = is_recipe(tables)
        config = make_run_config(tables) if recipe else make_config(tables).run_config()
        size = "by layers"
        if config.network is not None and config.network.stack is not None:
            size = "{} @ {}".format(*config.network.stack)
        rows.append(
            {
                "name": name,
                "description": description(name),
                "kind": "recipe" if recipe else "search",
                "dataset": tables.get("dataset"),
                "controller": None if recipe else tables["controller"].get("name", "ppo"),
                "children": None if recipe else tables["budget"]["children"],
                "epochs": config.training.epochs,
                "network": size,
            }
        )
    columns = [column for column in rows[0] if column != "description"]
    print_rows(rows, [*columns, "description"], as_json=as_json)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A preset's name.")],
    assignments: SetOption = None,
    file: Annotated[
        bool, typer.Option("--file", help="Print the preset's file as it is, with its comments.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print all keys of a preset, with what each means, may be, and is by default.

    What is printed is TOML: a file to begin from. Keys that the preset leaves to their defaults
    are comments. With --set the keys are those of another controller, and so on.
    """
    if file and (as_json or assignments):
        raise UserError("--file prints the file as it is, without --json and --set")
    if file:
        typer.echo(preset_text(name), nl=False)
        return
    tables = merge(read_preset(name), parse_assignments(assignments or []))
    config = make_run_config(tables) if is_recipe(tables) else make_config(tables)
    if as_json:
        print_json(config.model_dump(mode="json"))
    else:
        typer.echo(documented(config, tables), nl=False)
