from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

import pytest
from sqlalchemy import select

from db.schema.models import Epoch, Genotype, Run, Search, Slot
from db.schema.rows import EpochRow, GenotypeRow, RunRow, SearchRow, SlotRow, read_all
from db.schema.session import transaction
from tests.factories import make_search


def outer(kind):
    """A type without what stands in its brackets: JSON is a dictionary in both."""
    if get_origin(kind) in {Union, UnionType}:
        return frozenset(map(outer, get_args(kind)))
    return get_origin(kind) or kind


@pytest.mark.parametrize(
    ("row", "model"),
    [
        (SearchRow, Search),
        (GenotypeRow, Genotype),
        (RunRow, Run),
        (EpochRow, Epoch),
        (SlotRow, Slot),
    ],
)
def test_a_row_has_the_columns_of_its_table_in_their_order_and_with_their_types(row, model):
    columns = [column.key for column in model.__table__.c]
    mapped = get_type_hints(model)
    assert list(row._fields) == columns
    assert {name: outer(kind) for name, kind in get_type_hints(row).items()} == {
        name: outer(get_args(mapped[name])[0]) for name in columns
    }


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "statement", [select(Search.id), select(Search, Search.id.label("again"))]
)
def test_a_statement_with_other_columns_than_the_row_has_is_refused(statement):
    make_search()
    with transaction() as connection, pytest.raises(TypeError, match="the statement gives id"):
        read_all(connection, SearchRow, statement)
