"""A configuration as TOML that says of every key what it means and what it may be."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.io.key_values import TAGS, Model, models_of, one_of, tag_of, values

WIDTH = 99


def documented(config: BaseModel, written: Mapping[str, Any]) -> str:
    """All keys of a configuration; those that were not written are comments.

    Whatever parses it finds ``written``, and nothing else.
    """
    lines = _table(_Table("", [type(config)]), config.model_dump(mode="json"), written)
    return "\n".join(lines).lstrip("\n") + "\n"


@dataclass(frozen=True, slots=True)
class _Table:
    """A table, the models that it may be of, and what it is for."""

    name: str
    models: Sequence[Model]
    purpose: str = ""


def _table(
    table: _Table, found: Mapping[str, Any], written: Mapping[str, Any] | None
) -> Iterator[str]:
    """A table's lines: its keys, then the tables in it. ``written`` None: nobody wrote it."""
    model = _chosen(table.models, found)
    if table.name:
        yield ""
        yield from _comment(f"{table.purpose} {_summary(model)}")
        yield f"[{table.name}]" if written is not None else f"# [{table.name}]"
    for key in sorted(model.model_fields, key=lambda key: key not in TAGS):
        field = model.model_fields[key]
        if models_of(field):
            continue
        yield from _comment(_meaning(key, field, table.models))
        is_written = written is not None and key in written
        value = written[key] if written is not None and is_written else found.get(key)
        yield f"{'' if is_written else '# '}{key} = {toml(value)}"
    for key, field in model.model_fields.items():
        models = models_of(field)
        name = f"{table.name}.{key}" if table.name else key
        purpose = " ".join((field.description or "").split())
        theirs = None if written is None else written.get(key)
        if models and found.get(key) is not None:
            yield from _table(_Table(name, models, purpose), found[key], theirs)
            continue
        for variant in models:  # there is none: this is what could be
            yield from _table(_Table(name, [variant], purpose), _defaults(variant), None)


def _chosen(models: Sequence[Model], found: Mapping[str, Any]) -> Model:
    """The model that a table is of."""
    for model in models:
        tag = tag_of(model)
        if tag is not None and found.get(tag[0]) == tag[1]:
            return model
    return models[0]


def _defaults(model: Model) -> dict[str, Any]:
    tag = tag_of(model)
    plain = {
        key: field.get_default(call_default_factory=False)
        for key, field in model.model_fields.items()
        if not field.is_required()
    }
    dumped = {
        key: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for key, value in plain.items()
    }
    return dumped if tag is None else {**dumped, tag[0]: tag[1]}


def _summary(model: Model) -> str:
    """The first sentence of a model's own description."""
    return " ".join((model.__doc__ or "").partition("\n\n")[0].split())


def _meaning(key: str, field: FieldInfo, models: Sequence[Model]) -> str:
    """What a key means, what it may be, and what it is where nobody says."""
    allowed = values(field)
    tags = [tag[1] for tag in map(tag_of, models) if tag is not None]
    if key in TAGS and len(tags) > 1:
        allowed = one_of(tags)
    default = field.get_default(call_default_factory=False)
    if field.is_required():
        otherwise = "" if key in TAGS else "; no default"
    else:
        shown = repr(default) if isinstance(default, str) else toml(default)
        otherwise = f"; default {shown}"
    description = " ".join((field.description or "").split())
    return f"{description} {allowed[0].upper()}{allowed[1:]}{otherwise}."


def _comment(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def toml(value: Any) -> str:
    """A value in TOML's words; what there is none of is "none", for a comment."""
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
