"""The bits of operations in a store: those of the paper are fixed, others are handed out."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from db.lifecycle import children, operations
from db.reads import ranking
from db.schema.enums import CellScope
from db.schema.models import Child, Genotype, Operation
from db.schema.session import transaction
from pipeline.errors import UserError
from pipeline.spaces.cells.genotype import PAPER_OPERATIONS
from tests.factories import (
    claim,
    finish,
    make_search,
    make_slot,
    make_version,
    new_child,
    queue_run,
    rows,
    run_of,
)

# Two operations that no release has.
NEW = ("sep_conv_9x9", "conv_5x5")
TEMPLATE = children.RunTemplate(config={}, device="cpu")


def child_with(k, normal, reduction):
    """A proposal whose cells use these operations, whatever its body says."""
    return replace(new_child(k, k), operations=(frozenset(normal), frozenset(reduction)))


def rewarded(*proposals):
    """A search in which these proposals have rewards, the best first; their children's ids."""
    search_id = make_search()
    make_version(search_id)
    with transaction() as connection:
        children.propose(connection, search_id, 0, proposals, TEMPLATE)
    slot = make_slot()
    ids = [row.id for row in rows(select(Child.id))]
    for place, child_id in enumerate(ids):
        run = run_of(child_id)
        queue_run(run.id)
        finish(run.id, claim(run.id, slot).attempt, 0.9 - place / 10)
    return search_id, ids


def listed(search_id, **wanted):
    with transaction(read_only=True) as connection:
        found = ranking.ranked(connection, search_id, ranking.Filter(**wanted), limit=10)
    return [row.child_id for row in found]


def test_the_papers_operations_have_their_places_as_bits_in_every_store(store):
    with transaction(read_only=True) as connection:
        known = operations.known(connection)
    assert known == {name: bit for bit, name in enumerate(PAPER_OPERATIONS)}


def test_a_list_is_filtered_by_operations_that_are_not_built_in(store):
    search_id, (first, second, third) = rewarded(
        child_with(0, ["identity", NEW[0]], ["identity"]),
        child_with(1, ["identity"], [NEW[1]]),
        child_with(2, ["conv_3x3"], [NEW[0], NEW[1]]),
    )
    assert listed(search_id, uses=(NEW[0],)) == [first, third]
    assert listed(search_id, uses=(NEW[0],), cell=CellScope.NORMAL) == [first]
    assert listed(search_id, uses=NEW) == [third]
    assert listed(search_id, without=(NEW[0],)) == [second]
    assert listed(search_id, uses=("identity",), without=(NEW[1],)) == [first]


def test_a_new_operation_gets_the_next_bit_once(store):
    rewarded(child_with(0, NEW, ["identity"]))
    with transaction() as connection:
        for names in ((NEW[0],), NEW, ("identity",)):
            bits = operations.bits_for(connection, names)
    first, second = (bits[name] for name in sorted(NEW))
    assert (first, second) == (13, 14)
    [genotype] = rows(select(Genotype.ops_normal, Genotype.ops_reduction))
    assert tuple(genotype) == (1 << 13 | 1 << 14, 1)
    assert len(rows(select(Operation.name))) == 15


def test_what_a_store_does_not_know_is_refused_in_one_line_that_lists_what_it_knows(store):
    search_id, _ = rewarded(child_with(0, ["identity"], [NEW[0]]))
    with pytest.raises(UserError) as error:
        listed(search_id, uses=("conv_9x9",))
    assert "\n" not in str(error.value)
    known = ", ".join((*PAPER_OPERATIONS, NEW[0]))
    assert str(error.value) == f"no operation 'conv_9x9'; there are: {known}"


def test_operations_beyond_the_bits_are_stored_and_only_not_filtered_by(store):
    many = [f"new_{number:02}" for number in range(operations.BITS)]
    search_id, [child_id] = rewarded(child_with(0, many, ["identity"]))
    with transaction(read_only=True) as connection:
        bits = operations.known(connection)
    assert max(bits.values()) == operations.BITS - 1
    assert listed(search_id, uses=(many[17],)) == [child_id]
    with pytest.raises(UserError, match="no operation 'new_18'"):
        listed(search_id, uses=(many[18],))
