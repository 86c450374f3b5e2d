"""What a person is told of a key or a value that a model refuses: what and where, and what to do.

One place for all models of ours, so that no message has the validation library's words.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pipeline.errors import UserError
from pipeline.io.key_values import TAGS, Key, Model, keys_of, models_of, one_of, tag_of, values

LONGEST = 60  # characters of a value that is shown
MOST = 2  # keys that are suggested


class UnknownKeysError(UserError):
    """Keys that the tables do not have; ``keys`` are their dotted names."""

    def __init__(self, message: str, keys: Sequence[str]) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a configuration."""

    key: str  # dotted
    annotation: Any  # of the value there; None: there is no such key
    table: Any  # that it is in; narrowed to the one model that was chosen by its tag
    wider: Any = None  # the table as it was before


def refusal(
    error: ValidationError,
    annotation: Any,
    *,
    table: str = "",
    keys_in: str = "`nasnet preset show digits`",
    name: Callable[[str], str] = str,
    got: Callable[[str, Any], str] | None = None,
) -> UserError:
    """What is said of a configuration that is refused.

    Args:
        annotation: what was validated: a model, or a union of some.
        table: where that stands in the whole, dotted.
        keys_in: what lists the keys there are.
        name: what people call a key.
        got: the value as they wrote it, where it is not what the model was given; "" is not shown.
    """
    problems = error.errors(include_url=False)
    unknown = [p for p in problems if p["type"] == "extra_forbidden"]
    if unknown:
        places = [_find(annotation, p["loc"], table) for p in unknown]
        said = _unknown(places[0], annotation, table, keys_in)
        return UnknownKeysError(said, [place.key for place in places])
    problem = problems[0]
    where = _find(annotation, problem["loc"], table)
    if problem["type"] in {"value_error", "assertion_error"}:
        key, text = _ours(where, problem)
    else:
        key, text = _expected(where, problem["type"])
    shown = _given(problem) if got is None else got(key, problem.get("input"))
    if shown and problem["type"] not in {"missing", "union_tag_not_found"}:
        text += f", got {shown}"
    return UserError(f"{name(key)}: {text}" if key else text)


def _given(problem: Any) -> str:
    """The value that was given, in one line; a table says nothing that its key does not."""
    value = problem.get("input")
    if problem["type"] == "union_tag_invalid":
        value = problem["ctx"]["tag"]
    if problem["type"] == "value_error" or isinstance(value, dict):
        return ""  # our own messages say it
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _find(root: Any, loc: Sequence[int | str], table: str) -> Where:
    """The place that the library names by keys, numbers, and tags of unions."""
    here = Where(table, root, None)
    for part in loc:
        if isinstance(part, int):
            here = Where(f"{here.key}[{part}]", _item(here.annotation), here.table)
            continue
        models = models_of(here.annotation)
        with_key = [model for model in models if part in model.model_fields]
        chosen = [model for model in models if part in {model.__name__, *(tag_of(model) or ())}]
        if chosen and not (len(models) == 1 and with_key):
            here = Where(here.key, chosen[0], here.table, here.annotation)
            continue
        field = with_key[0].model_fields[part] if with_key else None
        key = f"{here.key}.{part}" if here.key else part
        here = Where(key, field, here.annotation, here.wider)
    return here


def _item(annotation: Any) -> Any:
    """The type of a list's items."""
    inner = annotation.annotation if isinstance(annotation, FieldInfo) else annotation
    return (get_args(inner) or (inner,))[0]


def _expected(where: Where, kind: str) -> tuple[str, str]:
    """The key that is meant, and what its value may be."""
    if kind == "missing":
        return where.key, f"is needed: {values(where.annotation)}"
    models = models_of(where.annotation)
    if kind.startswith("union_tag"):
        key, choices = _tags(models)
        return f"{where.key}.{key}", f"expected {choices}"
    if where.key.rpartition(".")[2] in TAGS and len(models_of(where.wider)) > 1:
        return where.key, f"expected {_tags(models_of(where.wider))[1]}"
    return where.key, f"expected {values(where.annotation)}"


def _tags(models: Sequence[Model]) -> tuple[str, str]:
    """The key that tells models apart, and its values in words."""
    tags = [tag for tag in map(tag_of, models) if tag is not None]
    return tags[0][0], one_of([value for _, value in tags])


def _ours(where: Where, problem: Any) -> tuple[str, str]:
    """The key and the message of one of our own checks; it may begin with a key of the table."""
    message = str(problem["ctx"]["error"])
    first, colon, rest = message.partition(": ")
    known = {key for model in models_of(where.annotation) for key in model.model_fields}
    if where.key and colon and first in known:
        return f"{where.key}.{first}", rest
    return where.key, message


def _unknown(where: Where, root: Any, table: str, keys_in: str) -> str:
    """Of a key that is not there: whose it is, or what it may have been meant to be."""
    leaf, own = where.key.rpartition(".")[2], models_of(where.table)
    others = [model for model in models_of(where.wider) if leaf in model.model_fields]
    if others and own:
        key, choices = _tags(others)
        within = where.key.rpartition(".")[0]
        mine = (tag_of(own[0]) or ("", ""))[1]
        fits = f"goes with {within}.{key} = {choices}, not {mine!r}"
        return f"{where.key}: {fits}; {keys_in} lists keys"
    close = nearest(where, list(keys_of(root, table)))
    meant = f" do you mean {' or '.join(close[:MOST])}?" if close else ""
    return f"{where.key}: there is no such key;{meant} {keys_in} lists them"


def nearest(where: Where, known: Sequence[Key]) -> list[str]:
    """The keys most like one that is not there, the likeliest first."""
    leaf, table = where.key.rpartition(".")[2], where.key.rpartition(".")[0]
    elsewhere = sorted({key.name for key in known if key.leaf == leaf}, key=_depth)
    if elsewhere:
        return elsewhere
    models: list[Model] = models_of(where.table)
    beside = [key.leaf for key in known if key.table == table and key.model in models]
    close = difflib.get_close_matches(leaf, dict.fromkeys(beside), n=1)
    if close:
        return [f"{table}.{close[0]}" if table else close[0]]
    if table:
        return []
    close = difflib.get_close_matches(leaf, {key.leaf for key in known}, n=1)
    return sorted({key.name for key in known if key.leaf in close}, key=_depth)


def _depth(name: str) -> tuple[int, str]:
    return name.count("."), name
