"""Keys of models, in words: which there are, which values each may have.

What is said when a value is refused, and what `nasnet preset show` prints, is read here from the
models' own fields.
"""

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Model = type[BaseModel]
TAGS = ("name", "skeleton")  # keys that say which of several tables one is
_SIMPLE = {bool: "true or false", str: "text", Path: "a path"}
_MANY = {int: "whole numbers", float: "numbers", str: "texts"}


def unwrapped(annotation: Any) -> tuple[list[Any], list[Any]]:
    """The types that an annotation allows, without None, and what limits them."""
    if isinstance(annotation, FieldInfo):
        inner, limits = unwrapped(annotation.annotation)
        return inner, [*annotation.metadata, *limits]
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        inner, limits = unwrapped(base)
        fields = [m.metadata if isinstance(m, FieldInfo) else [m] for m in metadata]
        return inner, [*(limit for field in fields for limit in field), *limits]
    if get_origin(annotation) in {Union, types.UnionType}:
        parts = [unwrapped(part) for part in get_args(annotation) if part is not type(None)]
        return [t for inner, _ in parts for t in inner], [x for _, found in parts for x in found]
    return [annotation], []


def models_of(annotation: Any) -> list[Model]:
    """The models that a table may be of; none where it is no table."""
    inner, _ = unwrapped(annotation)
    return [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]


def tag_of(model: Model) -> tuple[str, str] | None:
    """The key and value by which a model is told from the others that a table may be of."""
    for key in TAGS:
        field = model.model_fields.get(key)
        if field is not None and get_origin(field.annotation) is Literal:
            return key, str(get_args(field.annotation)[0])
    return None


def values(annotation: Any) -> str:
    """What a value may be: "a whole number from 1 to 100", "'sgd' or 'rmsprop'", "a table"."""
    models = models_of(annotation)
    if models:
        tags = [tag for tag in map(tag_of, models) if tag is not None]
        if len(tags) < 2:
            return "a table"
        return f"a table with {tags[0][0]} = {one_of([value for _, value in tags])}"
    inner, limits = unwrapped(annotation)
    kind = inner[0]
    if get_origin(kind) is Literal:
        return one_of(get_args(kind))
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return "a list of tables" if models_of(item) else f"a list of {_MANY[item]}"
    if kind in {int, float}:
        return _number(kind, limits)
    return _SIMPLE[kind] + _text_limits(limits)


def one_of(choices: Sequence[Any]) -> str:
    """Such as "'a', 'b' or 'c'"."""
    *first, last = map(repr, choices)
    return f"{', '.join(first)} or {last}" if first else last


def _number(kind: type, limits: Sequence[Any]) -> str:
    bounds = {type(limit): limit for limit in limits}
    even = bounds.get(annotated_types.MultipleOf)
    name = "a whole number" if kind is int else "a number"
    if even is not None:
        name = f"a multiple of {even.multiple_of}"
    at_least, at_most = bounds.get(annotated_types.Ge), bounds.get(annotated_types.Le)
    if at_least is not None and at_most is not None:
        return f"{name} from {at_least.ge:.10g} to {at_most.le:.10g}"
    above, below = bounds.get(annotated_types.Gt), bounds.get(annotated_types.Lt)
    said = [
        "" if at_least is None else f"{at_least.ge:.10g} or more",
        "" if above is None else f"above {above.gt:.10g}",
        "" if at_most is None else f"at most {at_most.le:.10g}",
        "" if below is None else f"below {below.lt:.10g}",
    ]
    words = " and ".join(filter(None, said))
    comma = "," if at_least is not None or at_most is not None else ""
    return f"{name}{comma} {words}" if words else name


def _text_limits(limits: Sequence[Any]) -> str:
    for limit in limits:
        if isinstance(limit, annotated_types.MinLen):
            return f" of {limit.min_length} characters or more"
        pattern = getattr(limit, "pattern", None)
        if pattern is not None:
            return f" like {pattern}"
    return ""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table, or of a table in it."""

    name: str  # dotted
    model: Model  # that has it

    @property
    def leaf(self) -> str:
        """Its name in its own table."""
        return self.name.rpartition(".")[2]

    @property
    def table(self) -> str:
        """The dotted name of its table; "" at the top."""
        return self.name.rpartition(".")[0]


def keys_of(annotation: Any, table: str = "") -> Iterator[Key]:
    """All keys of a table, those of the tables in it as well."""
    for model in models_of(annotation):
        for leaf, field in model.model_fields.items():
            name = f"{table}.{leaf}" if table else leaf
            yield Key(name, model)
            yield from keys_of(field, name)
