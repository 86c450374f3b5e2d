"""Keys of stored configurations as SQL; one that the configuration's model lacks is an error here.

A value is null where the release that stored it knew no such key.
"""

from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Integer, func
from sqlalchemy.orm import InstrumentedAttribute

from db.schema.models import Run, Search
from db.schema.rows import JsonObject
from pipeline.config.run import RunConfig
from pipeline.config.search import SearchConfig


def _key(column: InstrumentedAttribute[JsonObject], model: type[BaseModel], *keys: str) -> Any:
    """What stands at a path of keys; SQLAlchemy has no types for it."""
    found: Any = column
    part: object = model
    for key in keys:
        if not (isinstance(part, type) and issubclass(part, BaseModel)):
            raise AttributeError(f"{'.'.join(keys)}: there are no keys in {part}")
        part = part.model_fields[key].annotation
        found = found[key]
    return found


fingerprint: ColumnElement[str] = _key(Search.config, SearchConfig, "fingerprint").as_string()
search_device: ColumnElement[str] = _key(
    Search.config, SearchConfig, "training", "device"
).as_string()
search_devices: ColumnElement[int] = func.coalesce(
    _key(Search.config, SearchConfig, "training", "devices").as_integer(), 1, type_=Integer
)
search_threads: ColumnElement[int] = _key(
    Search.config, SearchConfig, "training", "threads"
).as_integer()
dataset: ColumnElement[str] = _key(Run.config, RunConfig, "dataset").as_string()
epochs: ColumnElement[int] = _key(Run.config, RunConfig, "training", "epochs").as_integer()
run_threads: ColumnElement[int] = _key(Run.config, RunConfig, "training", "threads").as_integer()
