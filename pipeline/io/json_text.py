"""JSON from elsewhere: what JSON itself leaves open is refused, not guessed."""

import json
from collections.abc import Sequence
from typing import Any, NoReturn


def read_json(text: bytes | str) -> Any:
    """The value of a JSON document, in which each object has a key once, and numbers are numbers.

    Raises:
        ValueError: it is no JSON; says what and where, in one line.
    """
    try:
        return _decoder.decode(text.decode() if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("lists and objects in one another are too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"no JSON: byte {error.start} is not UTF-8") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python's own limit: the time for more grows with their square
        raise ValueError(f"a number of {len(digits):,} digits is too long") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_constant=_no_number
)
