"""What a word stands for, and filters: the same for the command line, pages and notebooks."""

import pytest

from db.reads import ranking
from db.schema.enums import Arm, CellScope
from db.schema.session import transaction
from pipeline.actions.genotypes import find, find_stored, make_filter
from pipeline.errors import UserError
from pipeline.spaces.cells.published import PUBLISHED
from tests.factories import fill_search


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("abc", "expected 6 or more letters of a digest"),
        ("no digest", "expected 6 or more letters of a digest"),
        ("", "expected 6 or more letters of a digest"),
        ("ffffffffff", "none in this store begins so"),
    ],
)
def test_a_prefix_of_no_digest_is_refused(store, prefix, said):
    with transaction(read_only=True) as connection, pytest.raises(UserError, match=said) as error:
        find_stored(connection, prefix)
    assert str(error.value).startswith("no genotype ")  # the dashboard answers 404 to these


def test_a_rank_a_digest_and_a_published_name_are_found(store):
    fill_search()
    best = find("digits:1")
    assert str(best.rank) == "digits:1"
    again = find(best.genotype.digest[:10])
    assert (again.genotype, again.rank) == (best.genotype, None)
    with transaction(read_only=True) as connection:
        assert find_stored(connection, best.genotype.digest).genotype == best.genotype
    assert find("nasnet-a").genotype == PUBLISHED["nasnet-a"]


def test_a_filter_has_operations_by_name():
    normal = CellScope.NORMAL
    wanted = make_filter(uses=["sep_conv_3x3"], place=normal, arm=Arm.CONTROL, max_macs=1.0)
    assert wanted.uses == ("sep_conv_3x3",)
    assert (wanted.without, wanted.cell, wanted.arm) == ((), normal, Arm.CONTROL)


def test_an_operation_that_the_store_does_not_know_is_refused(store):
    fill_search()
    with transaction(read_only=True) as connection, pytest.raises(UserError, match="'other'"):
        ranking.ranked(connection, 1, make_filter(without=["other"]), limit=1)
