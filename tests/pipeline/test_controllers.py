"""What every controller keeps to; a new one is tested by a name in the parameters."""

import functools

import numpy as np
import pytest
import torch

from pipeline import controllers
from pipeline.config import PPOConfig, RandomConfig
from pipeline.controllers import Outcome, PolicyStateError, load_controller, load_state, save_state
from pipeline.spaces import NASNetSpace

SPACE = NASNetSpace(2)
CONFIGS = {"ppo": PPOConfig(batch=10, units=8), "random": RandomConfig(batch=10)}


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture
def make(config):
    return functools.partial(controllers.make_controller, config, SPACE, seed=1)


def outcomes_of(proposals):
    return [Outcome(p.actions, p.log_probs, reward=(p.k % 7) / 7) for p in proposals]


def actions_of(proposals):
    return [p.actions for p in proposals]


def snapshot(value):
    """A state as plain values, to compare by ==."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    return value


def test_sampling_twice_gives_the_same_children(make):
    controller = make()
    assert controller.sample(0, 10, []) == controller.sample(0, 10, [])
    assert make().sample(0, 10, []) == controller.sample(0, 10, [])


@pytest.mark.parametrize("cuts", [(3, 7), (1, 8, 1), (0, 10), (10, 0)])
def test_a_batch_sampled_in_parts_is_the_batch(make, cuts):
    controller = make()
    parts, first = [], 0
    for count in cuts:
        parts += controller.sample(first, count, [])
        first += count
    assert parts == controller.sample(0, 10, [])  # floats compare bit by bit here


def test_proposals_are_numbered_also_across_batches(make):
    controller = make()
    proposals = controller.sample(7, 16, [])
    assert [p.k for p in proposals] == list(range(7, 23))
    assert proposals[3:13] == controller.sample(10, 10, [])


def test_sampling_nothing_gives_nothing(make):
    assert make().sample(0, 0, []) == make().sample(4, 0, []) == []


def test_sampling_changes_no_state(make):
    controller = make()
    before = snapshot(controller.state_dict())
    controller.sample(0, 25, [])
    assert snapshot(controller.state_dict()) == before


def test_a_whole_life_moves_no_global_random_state(config):
    """Also making one: torch's modules draw their first weights from the global generator."""
    before_torch, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    controller = controllers.make_controller(config, SPACE, seed=5)
    controller.update(outcomes_of(controller.sample(0, 10, [])))
    load_controller(config, SPACE, save_state(controller), seed=5)
    assert torch.equal(torch.get_rng_state(), before_torch)
    assert (np.random.get_state()[1] == before_numpy).all()


def test_the_global_random_state_changes_no_proposal(config):
    torch.manual_seed(1)
    first = controllers.make_controller(config, SPACE, seed=5).sample(0, 10, [])
    torch.manual_seed(2)
    assert controllers.make_controller(config, SPACE, seed=5).sample(0, 10, []) == first


def test_another_seed_arm_or_number_gives_other_children(make):
    children = actions_of(make().sample(0, 10, []))
    assert actions_of(make(seed=2).sample(0, 10, [])) != children
    assert actions_of(make(arm="control").sample(0, 10, [])) != children
    assert actions_of(make().sample(10, 10, [])) != children
    assert len(set(children)) > 1


def test_another_version_gives_other_children(make):
    controller = make()
    children = actions_of(controller.sample(0, 10, []))
    controller.update([])
    assert actions_of(controller.sample(0, 10, [])) != children


def test_an_empty_batch_raises_the_version_and_changes_nothing_else(make):
    controller = make()
    controller.update(outcomes_of(controller.sample(0, 10, [])))
    before = snapshot(controller.state_dict())
    controller.update([])
    assert snapshot(controller.state_dict()) == {**before, "version": before["version"] + 1}


def test_every_proposal_decodes_and_encodes_back(make):
    for proposal in make().sample(0, 30, []):
        assert SPACE.encode(SPACE.decode(proposal.actions)) == proposal.actions
        assert len(proposal.log_probs) == len(SPACE.decisions)
        assert all(log_prob <= 0 for log_prob in proposal.log_probs)


def test_proposals_are_plain_values(make):
    """They go into the store as JSON: no numpy or torch scalars."""
    proposal = make().sample(0, 1, [])[0]
    assert {type(action) for action in proposal.actions} == {int}
    assert {type(log_prob) for log_prob in proposal.log_probs} == {float}


def test_a_saved_state_carries_everything(make, config):
    controller = make()
    controller.update(outcomes_of(controller.sample(0, 10, [])))
    blob = save_state(controller)
    other = load_controller(config, SPACE, blob, seed=1)
    assert save_state(other) == blob
    proposals = controller.sample(0, 10, [])
    assert other.sample(0, 10, []) == proposals
    assert other.update(outcomes_of(proposals)) == controller.update(outcomes_of(proposals))
    assert save_state(other) == save_state(controller)
    assert other.sample(0, 10, []) == controller.sample(0, 10, [])


def test_the_same_state_gives_the_same_bytes(make):
    assert save_state(make()) == save_state(make())


def test_a_state_holds_nothing_that_weights_only_refuses(make):
    """`load_state` loads with weights_only; these types also outlive a release of torch."""

    def types_in(value):
        if isinstance(value, dict):
            return set().union({type(value)}, *map(types_in, value.values()))
        if isinstance(value, list | tuple):
            return set().union({type(value)}, *map(types_in, value))
        return {type(value)}

    controller = make()
    controller.update(outcomes_of(controller.sample(0, 10, [])))
    names = {kind.__name__ for kind in types_in(controller.state_dict())}
    plain = {"Tensor", "int", "float", "bool", "str", "NoneType", "list", "tuple", "dict"}
    assert names <= plain | {"OrderedDict"}


def test_two_controllers_loaded_from_one_state_share_nothing(make):
    controller = make()
    controller.update(outcomes_of(controller.sample(0, 10, [])))
    state = controller.state_dict()
    first, second = make(), make()
    first.load_state_dict(state)
    second.load_state_dict(state)
    blob = save_state(second)
    first.update(outcomes_of(first.sample(0, 10, [])))
    assert save_state(second) == blob


@pytest.mark.parametrize("spoil", [lambda blob: b"", lambda blob: blob[:-50], lambda blob: b"x"])
def test_an_unreadable_state_is_said_to_be_one(make, spoil):
    controller = make()
    with pytest.raises(PolicyStateError, match="cannot be read"):
        load_state(controller, spoil(save_state(controller)))


def test_a_state_of_another_controller_is_refused(make, config):
    for other in CONFIGS.values():
        if other is not config:
            blob = save_state(controllers.make_controller(other, SPACE, seed=1))
            with pytest.raises(PolicyStateError, match="another controller's"):
                load_state(make(), blob)


def test_a_state_that_is_not_there_is_said_to_be_missing(config):
    with pytest.raises(PolicyStateError, match="restore a backup"):
        load_controller(config, SPACE, None, seed=1)
