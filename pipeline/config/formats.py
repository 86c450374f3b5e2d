"""Configurations stored by earlier releases, brought to today's format.

A release that changes what a default does adds a key for it and raises ``FORMAT``. A new search
gets the new default; one that was stored before keeps what it was made with (``_BEFORE_2``,
``_SPACES_BEFORE_3``).
"""

from collections.abc import Mapping
from typing import Any

from pipeline.config.tables import merge
from pipeline.errors import UserError
from pipeline.spaces.cells.config import ENAS_OPERATIONS
from pipeline.spaces.cells.genotype import PAPER_OPERATIONS
from pipeline.spaces.macro.genotype import PAPER_OPERATIONS as MACRO_OPERATIONS
from pipeline.spaces.registry import space_name

FORMAT = 3

# What releases of format 1 did, which had no such keys: tables of a search or a training.
_BEFORE_2: dict[str, Any] = {
    "split": "random",
    "reading": 1,
    "fingerprint": None,
    "training": {"average_ramp": False, "crop_fill": "black", "cutout_fill": "black"},
}
# What the table `stop` of a search meant before it had this key: the search never pauses.
_STOP_BEFORE_2: dict[str, Any] = {"failures": 1.0}
# And of tables that have a kind: a search's controller by its name, networks by their skeleton.
_CONTROLLERS_BEFORE_2: dict[str, dict[str, Any]] = {"evolution": {"replacement": False}}
_NETWORKS_BEFORE_2: dict[str, dict[str, Any]] = {"enas-micro": {"padding": "symmetric"}}
# The operations of spaces, by their names, before they were stored.
_SPACES_BEFORE_3: dict[str, dict[str, Any]] = {
    "nasnet": {"operations": list(PAPER_OPERATIONS)},
    "enas-micro": {"operations": list(ENAS_OPERATIONS)},
    "enas-macro": {"operations": list(MACRO_OPERATIONS)},
}
# Keys of a training that say something only where another is not 0.
_DETAILS_OF = {
    "average_ramp": "average_decay",
    "crop_fill": "crop_padding",
    "cutout_fill": "cutout",
}


def lifted(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration, of a search or of one training, in today's format.

    Raises:
        UserError: it was stored by a newer release.
    """
    stored_format = stored.get("format", 1)
    if isinstance(stored_format, int) and stored_format > FORMAT:
        raise UserError(
            f"the search was stored in format {stored_format}, this release knows {FORMAT}: "
            "upgrade the package"
        )
    tables = dict(stored)
    if stored_format == 1:
        tables = _from_1(tables)
    if stored_format in (1, 2):
        tables = _from_2(tables)
    return tables


def _from_1(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of format 1 in format 2."""
    tables = {**_BEFORE_2, **_filled(stored)}
    if isinstance(tables.get("retrain"), dict):
        tables["retrain"] = _filled(tables["retrain"])
    return tables if tables.get("image_size") is None else _without_cutout(tables)


def _from_2(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of format 2 in format 3; only that of a search has a space."""
    space = stored.get("space")
    filled = {**stored, "format": FORMAT}
    if isinstance(space, dict):
        filled["space"] = {**_SPACES_BEFORE_3.get(space_name(space), {}), **space}
    return filled


def _filled(tables: Mapping[str, Any]) -> dict[str, Any]:
    """A search, a recipe or a training with what format 1 did where it names a table."""
    before = {"training": _BEFORE_2["training"], **_before_by_kind(tables)}
    if isinstance(tables.get("stop"), dict):
        before["stop"] = _STOP_BEFORE_2
    return merge(before, tables)


def _before_by_kind(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Of the tables that have a kind, what format 1 did."""
    kinds = (
        ("controller", "name", _CONTROLLERS_BEFORE_2),
        ("network", "skeleton", _NETWORKS_BEFORE_2),
    )
    return {
        part: known.get(str(tables[part].get(key)), {})
        for part, key, known in kinds
        if isinstance(tables.get(part), dict)
    }


def _without_cutout(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Format 1 read ``cutout`` for images in memory alone."""
    none: dict[str, Any] = {"training": {"cutout": 0}}
    if isinstance(tables.get("retrain"), dict):
        none["retrain"] = none.copy()
    return merge(tables, none)


def without_later_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """A training's configuration without the keys that say what format 1 did anyway.

    A training is recognised by the hash of what was asked, so one that an earlier release ran is
    found again.
    """
    kept = _without(config, {**_BEFORE_2, **_before_by_kind(config)})
    training = config.get("training", {})
    idle = {key: training.get(key) for key, of in _DETAILS_OF.items() if not training.get(of)}
    kept = _without(kept, {"training": idle})
    return {key: value for key, value in kept.items() if key != "format"}


def _without(tables: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in tables.items():
        if isinstance(value, dict) and isinstance(known.get(key), dict):
            kept[key] = _without(value, known[key])
        elif key not in known or known[key] != value:
            kept[key] = value
    return kept
