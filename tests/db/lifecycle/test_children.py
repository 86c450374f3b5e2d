import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from db.lifecycle import attempts
from db.schema.enums import ChildState, RunState
from db.schema.models import Genotype, Run
from db.schema.session import transaction
from pipeline.errors import Failure
from tests.factories import (
    child,
    claim,
    finish,
    make_children,
    make_search,
    make_slot,
    make_version,
    propose,
    queue_run,
    run_of,
)

pytestmark = pytest.mark.usefixtures("store")


def train(child_id, reward=0.5):
    slot = make_slot()
    run_id = run_of(child_id).id
    queue_run(run_id)
    finish(run_id, claim(run_id, slot).attempt, reward)


def count(table):
    with transaction(read_only=True) as connection:
        return connection.scalar(select(func.count()).select_from(table))


def test_each_new_genotype_gets_one_run():
    make_children(seeds=[1, 2, 1])
    assert (count(Genotype), count(Run)) == (2, 2)


def test_a_duplicate_waits_for_the_first_and_takes_its_reward():
    _, (first, second) = make_children(seeds=[1, 1])
    assert child(second).duplicate_of == first
    assert run_of(second) is None
    train(first, 0.7)
    assert (child(second).state, child(second).reward) == (ChildState.REWARDED, 0.7)


def test_a_duplicate_of_a_rewarded_child_takes_its_reward_at_once():
    search_id, [first] = make_children(seeds=[1])
    train(first, 0.7)
    [second] = propose(search_id, [1], first=1)
    known = child(second)
    assert (known.reward, known.accuracy, known.duplicate_of) == (0.7, 0.7, first)
    assert run_of(second) is None


def test_a_duplicate_of_a_penalised_child_takes_the_penalty():
    search_id, [first] = make_children(seeds=[1])
    run_id = run_of(first).id
    queue_run(run_id)
    held = claim(run_id, make_slot())
    with transaction() as connection:
        attempts.fail(connection, run_id, held.attempt, Failure.DIVERGED, message="nan")
    [second] = propose(search_id, [1], first=1)
    assert (child(second).reward, child(second).failure) == (0.0, Failure.DIVERGED)


def test_a_duplicate_is_trained_itself_when_the_first_ends_without_a_reward():
    _, (first, second, third) = make_children(seeds=[1, 1, 1])
    run_id = run_of(first).id
    queue_run(run_id)
    held = claim(run_id, make_slot())
    with transaction() as connection:
        attempts.fail(connection, run_id, held.attempt, Failure.ERROR, message="bug")
    assert child(first).state is ChildState.SKIPPED
    assert child(second).duplicate_of is None
    assert child(third).duplicate_of == second
    heir = run_of(second)
    assert (heir.state, heir.seed) == (RunState.PENDING, run_of(first).seed)
    train(second, 0.6)
    assert child(third).reward == 0.6


def test_a_genotype_of_another_search_is_trained_again():
    _, [first] = make_children(seeds=[1])
    train(first)
    _, [other] = make_children(seeds=[1])
    assert child(other).duplicate_of is None
    assert (count(Genotype), count(Run)) == (1, 2)


def test_proposing_the_same_children_twice_writes_them_once():
    search_id = make_search()
    make_version(search_id)
    propose(search_id, [1, 2])
    with pytest.raises(IntegrityError):
        propose(search_id, [1, 2])
    assert count(Run) == 2
