"""Write the reference pages from the code: ``python docs/generate.py``.

Keys come from the configuration's models, commands from the command line, tables and views from
the schema, and the HTTP API from the dashboard. ``--check`` writes nothing; it names the pages
that are not what the code says, and ends with exit code 1. A test runs it.

What a column means stands in ``columns.toml``; the script refuses a column without a meaning, and
a meaning without a column.
"""

import datetime as dt
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sqlalchemy import Column, Enum, TypeDecorator, inspect

from db.schema import migrations
from db.schema.models import Base
from db.schema.session import make_engine, using
from pipeline.cli import app as command_line
from pipeline.config.run import is_recipe
from pipeline.config.search import SearchConfig
from pipeline.config.tables import description, preset_names, read_preset
from pipeline.config.text import toml
from pipeline.dashboard.access import Access
from pipeline.dashboard.app import make_app
from pipeline.io.key_values import TAGS, Model, models_of, one_of, tag_of, unwrapped, values
from pipeline.settings import Settings

DOCS = Path(__file__).parent
REFERENCE = DOCS / "reference"
JSONObject = dict[str, Any]
PAPER = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
WIDTH = 100
TYPES = {
    int: "whole number",
    float: "number",
    str: "text",
    object: "JSON",
    bytes: "bytes",
    dt.datetime: "time",
}
HEAD = "<!-- Written by docs/generate.py; change the code, not this page. -->"

# Papers of keys whose models name none: a rule, schedule or augmentation has its own.
PAPERS = {
    "control": "1902.07638",  # random search as the baseline that a policy is held against
    "early_stopping.asha": "1810.05934",
    "training.schedule": "1608.03983",
    "training.restart_epochs": "1608.03983",
    "training.restart_factor": "1608.03983",
    "training.label_smoothing": "1512.00567",
    "training.auxiliary_weight": "1512.00567",
    "training.cutout": "1708.04552",
    "training.cutout_fill": "1708.04552",
    "training.crop_area": "1409.4842",
    "network.nasnet.drop_path_keep": "1707.07012",
    "network.nasnet.drop_path_schedule": "1707.07012",
}


def main() -> int:
    """Write the pages, or compare them with what is there."""
    check = sys.argv[1:] == ["--check"]
    stale = []
    for name, page in PAGES.items():
        path = REFERENCE / f"{name}.md"
        text = "\n".join([HEAD, "", *page()]).rstrip() + "\n"
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(path.name)
        if not check:
            path.write_text(text, "utf-8")
    if check and stale:
        sys.stdout.write(f"{', '.join(stale)}: not what the code says; run docs/generate.py\n")
        return 1
    return 0


def cell(text: object) -> str:
    """A text as a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """A table's lines."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(map(cell, row))} |"
    yield ""


def linked(text: str) -> str:
    """A text in which papers are links and code is marked as code."""
    text = text.replace("``", "`")
    return PAPER.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def prose(text: str | None) -> Iterator[str]:
    """The paragraphs of a docstring, each on lines of its own."""
    for paragraph in re.split(r"\n\s*\n", (text or "").strip()):
        words, line = linked(paragraph).split(), ""
        for word in words:
            if line and len(line) + len(word) >= WIDTH:
                yield line
                line = ""
            line = f"{line} {word}".strip()
        yield line
        yield ""


# The configuration


def configuration() -> Iterator[str]:
    """Every key of a search."""
    yield "# Configuration"
    yield ""
    yield from prose(
        "Every key of a search. A key that is left out has its default. An unknown key is refused,"
        " with the nearest one that there is. `nasnet preset show NAME` prints the same for one"
        " preset, as a file to begin from."
    )
    yield from prose(
        "A recipe, which `retrain`, `transfer` and `baseline` take, has the keys of the images"
        " and the tables `network` and `training`."
    )
    yield "## Top level"
    yield ""
    yield from _keys("", SearchConfig)
    yield from _tables("", SearchConfig, set())


def _tables(prefix: str, model: Model, told: set[tuple[str, Model]]) -> Iterator[str]:
    """The tables within a table, each with its keys; ``told`` has those that are on the page."""
    for key, field in model.model_fields.items():
        name = f"{prefix}.{key}" if prefix else key
        if _is_told_elsewhere(name):
            continue
        in_list = _models_in_list(field)
        variants = models_of(field) or in_list
        for variant in variants:
            if (name, variant) in told:
                continue
            told.add((name, variant))
            tag = tag_of(variant) if len(variants) > 1 else None
            title = f"`[[{name}]]`" if in_list else f"`[{name}]`"
            yield f"## {title}" + (f" with `{tag[0]} = {toml(tag[1])}`" if tag else "")
            yield ""
            yield from prose(field.description)
            yield from prose(variant.__doc__)
            yield from _keys(f"{name}.{tag[1]}" if tag else name, variant, tag)
            yield from _tables(name, variant, told)


def _is_told_elsewhere(name: str) -> bool:
    """Whether a table has the keys of another: a recipe has those of a network and a training."""
    return name in {"retrain.network", "retrain.training"} or (
        name.startswith("failures.") and name != "failures.oom"
    )


def _models_in_list(field: FieldInfo) -> list[Model]:
    """The models of a list of tables."""
    inner, _ = unwrapped(field)
    arguments = getattr(inner[0], "__args__", ())
    return [one for one in arguments if isinstance(one, type) and issubclass(one, BaseModel)]


def _keys(name: str, model: Model, tag: tuple[str, str] | None = None) -> Iterator[str]:
    """The keys of a table; ``tag`` tells the table from others of its name."""
    rows: list[tuple[str, ...]] = [
        (
            f"`{key}`",
            linked(field.description or ""),
            one_of([tag[1]]) if tag and key == tag[0] else values(field),
            _default(key, field),
            _paper(f"{name}.{key}" if name else key, field, model),
        )
        for key, field in model.model_fields.items()
    ]
    heads: tuple[str, ...] = ("key", "meaning", "may be", "default", "paper")
    if not any(row[-1] for row in rows):  # none is of a paper
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    if rows:
        yield from table(heads, rows)


def _default(key: str, field: FieldInfo) -> str:
    if models_of(field) and not field.is_required():
        value = field.get_default(call_default_factory=False)
        if isinstance(value, BaseModel):
            tag = tag_of(type(value))
            return f"`{tag[0]} = {toml(tag[1])}`" if tag else "its keys' defaults"
        return "none"
    if field.is_required():
        return "" if key in TAGS else "has to be given"
    value = field.get_default(call_default_factory=False)
    if value is None:
        return "none"
    return f"`{toml(str(value) if isinstance(value, Path) else value)}`"


def _paper(name: str, field: FieldInfo, model: Model) -> str:
    """Where a key comes from: what its text names, else what its model does."""
    own = PAPER.findall(field.description or "")
    of_model = PAPER.findall(model.__doc__ or "")
    found = own or ([PAPERS[name]] if name in PAPERS else of_model)
    return ", ".join(linked(f"arXiv:{number}") for number in dict.fromkeys(found))


# This machine and the presets


def settings() -> Iterator[str]:
    """Every environment variable."""
    yield "# Settings of a machine"
    yield ""
    yield from prose(
        "Environment variables. They say where things are on this machine; none of them can"
        " change a result. Sizes are bytes, or a number with K, M, G or T."
    )
    rows = [
        (
            f"`NASNET_{key.upper()}`",
            field.description or "",
            values(field),
            _default(key, field),
        )
        for key, field in Settings.model_fields.items()
    ]
    yield from table(("variable", "meaning", "may be", "default"), rows)
    yield from prose(
        "`NASNET_TRACEBACK=1` prints the traceback of a fault of ours, which otherwise goes into"
        " a file of the home's `logs`."
    )
    yield from prose(
        "How they are used: [devices, memory and disks](../how-to/machine.md) and"
        " [many machines](../tutorials/many-machines.md)."
    )


def presets() -> Iterator[str]:
    """Every preset."""
    yield "# Presets"
    yield ""
    yield from prose(
        "Configurations that ship with the package. `nasnet run NAME` runs a search; a recipe is"
        " for `--preset` of `retrain`, `transfer` and `baseline`. `nasnet preset show NAME --file`"
        " prints the file, in which each value has its source."
    )
    rows = []
    for name in preset_names():
        tables = read_preset(name)
        recipe = is_recipe(tables)
        controller = "" if recipe else tables["controller"].get("name", "ppo")
        children = "" if recipe else tables["budget"]["children"]
        kind = "recipe" if recipe else "search"
        about = linked(description(name))
        rows.append((f"`{name}`", kind, tables.get("dataset", ""), controller, children, about))
    yield from table(("preset", "is a", "data set", "controller", "children", "what it is"), rows)


# Commands


def commands() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "# Commands"
    yield ""
    yield from prose(
        "What `nasnet COMMAND --help` prints. Exit codes: 0 done; 1 `doctor` found something; 2"
        " the command cannot be done as given, said in one line; 3 the search was paused, stopped"
        " or failed; 70 a fault of ours; 130 Ctrl-C."
    )
    yield from _commands(typer.main.get_command(command_line), None, "nasnet")


def _commands(command: Any, parent: Any, name: str) -> Iterator[str]:
    """A command's part of the page, or those of a group's commands."""
    context = command.context_class(
        command, info_name=name.rpartition(" ")[2], parent=parent, terminal_width=200
    )
    if hasattr(command, "list_commands"):
        for one in command.list_commands(context):
            yield from _commands(command.commands[one], context, f"{name} {one}")
        return
    yield f"## {name}"
    yield ""
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece]
    yield from ("```text", f"{name} {' '.join(pieces)}", "```", "")
    yield from prose(command.help)
    for kind, title in (("argument", "argument"), ("option", "option")):
        records = [
            record
            for parameter in command.params
            if parameter.param_type_name == kind and parameter.name != "help"
            for record in [parameter.get_help_record(context)]
            if record is not None
        ]
        if records:
            rows = [(f"`{name.strip()}`", about) for name, about in records]
            yield from table((title, "meaning"), rows)


# Tables and views


def tables() -> Iterator[str]:
    """Every table and view with its columns."""
    with (DOCS / "columns.toml").open("rb") as file:
        meanings: dict[str, dict[str, str]] = tomllib.load(file)
    yield "# Tables and views"
    yield ""
    yield from prose(
        "What `nasnet query` can ask. Names and meanings are the same on SQLite and PostgreSQL. A"
        " later release only adds to them. [Ten questions](../how-to/ask-the-store.md) show how"
        " they are used. Times are UTC."
    )
    yield "## Views"
    yield ""
    for name, columns in _views():
        yield from _relation(name, meanings.pop(name, {}), [(one, "") for one in columns])
    yield "## Tables"
    yield ""
    for found in Base.metadata.sorted_tables:
        rows = [(column.name, _type(column)) for column in found.columns]
        yield from _relation(found.name, meanings.pop(found.name, {}), rows)
    if meanings:
        raise SystemExit(f"columns.toml: there is no table or view {', '.join(meanings)}")


def _relation(
    name: str, told: dict[str, str], columns: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """A table or view: what a row is, and what each column says."""
    names = {"is", *(column for column, _ in columns)}
    missing, unknown = names - told.keys(), told.keys() - names
    if missing or unknown:
        raise SystemExit(
            f"columns.toml: [{name}] lacks {sorted(missing)} and has {sorted(unknown)} too many"
        )
    yield f"### {name}"
    yield ""
    yield from prose(told["is"])
    typed = any(kind for _, kind in columns)
    heads = ("column", "type", "is") if typed else ("column", "is")
    rows = [(column, *([kind] if typed else []), linked(told[column])) for column, kind in columns]
    yield from table(heads, rows)


def _type(column: Column[Any]) -> str:
    """A column's type, whether it may be null, and the row that it names."""
    kind = column.type
    kind = kind.impl_instance if isinstance(kind, TypeDecorator) else kind
    if isinstance(kind, Enum):
        said = ", ".join(f"`{value}`" for value in kind.enums)
    else:
        said = TYPES[kind.python_type]
    if column.nullable:
        said += ", or null"
    for key in column.foreign_keys:
        if key.constraint is not None and len(key.constraint.columns) == 1:
            said += f" (a row of `{key.target_fullname.partition('.')[0]}`)"
    return said


def _views() -> Iterator[tuple[str, list[str]]]:
    """The views of a new store, with their columns."""
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{folder}/nasnet.db")
        with using(engine):
            migrations.upgrade()
        found = inspect(engine)
        for name in sorted(found.get_view_names()):
            yield name, [column["name"] for column in found.get_columns(name)]
        engine.dispose()


# The HTTP API


def http_api() -> Iterator[str]:
    """Every path of the JSON API."""
    yield "# HTTP API"
    yield ""
    yield from prose(
        "What `nasnet dashboard` and `nasnet up` serve to programs, on 127.0.0.1:8642 by default."
        " `/api/openapi.json` describes it in the OpenAPI format. A change needs the header"
        " `Authorization: Bearer TOKEN`; on another address than a loopback one reading needs it,"
        " too. The token is `NASNET_TOKEN`, or lies in the home as `dashboard.token`."
    )
    with tempfile.TemporaryDirectory() as folder:
        served = make_app(Access("x" * 16, Path(folder), reading_needs_it=False)).openapi()
    schemas = served["components"]["schemas"]
    for path, verbs in served["paths"].items():
        for verb, about in verbs.items():
            if path.startswith("/api/") or path == "/metrics":
                yield from _endpoint(f"{verb.upper()} {path}", about, schemas)


def _endpoint(name: str, about: JSONObject, schemas: JSONObject) -> Iterator[str]:
    """A path's part of the page: its parameters, and the keys of its body."""
    yield f"## {name}"
    yield ""
    text = about.get("description") or about.get("summary") or ""
    yield from prose(text[:1].upper() + text[1:])
    parameters = [(one["name"], one["in"], one["schema"]) for one in about.get("parameters", ())]
    body = about.get("requestBody", {}).get("content", {}).get("application/json", {})
    for key, schema in _resolved(body.get("schema", {}), schemas).get("properties", {}).items():
        parameters.append((key, "JSON body", schema))
    rows = [
        (f"`{key}`", where, _schema(schema, schemas), schema.get("default", ""))
        for key, where, schema in parameters
    ]
    if rows:
        yield from table(("parameter", "where", "may be", "default"), rows)


def _resolved(schema: JSONObject, schemas: JSONObject) -> JSONObject:
    """A schema without the ways around it: null beside it, and its name."""
    for one in schema.get("anyOf", [schema]):
        if one.get("type") != "null":
            schema = one
            break
    name = schema.get("$ref", "").rpartition("/")[2]
    found: JSONObject = schemas[name] if name else schema
    return found


def _schema(schema: JSONObject, schemas: JSONObject) -> str:
    """What a parameter may be."""
    one = _resolved(schema, schemas)
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    bounds = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}
    said = [f"{word} {one[key]}" for key, word in bounds.items() if key in one]
    kinds = {"string": "text", "integer": "a whole number", "number": "a number"}
    kind = one.get("type", "text")
    return " ".join([kinds.get(kind, "several" if kind == "array" else kind), *said])


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "configuration": configuration,
    "settings": settings,
    "presets": presets,
    "commands": commands,
    "tables": tables,
    "http-api": http_api,
}

if __name__ == "__main__":
    sys.exit(main())
