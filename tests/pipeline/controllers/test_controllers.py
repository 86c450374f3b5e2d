"""What every controller keeps to, in every space; new ones are taken up by their tables.

``life`` is a controller with what its search has proposed so far: at its start, or when some
batches were learned, so that what models or breeds has something to do it with.
"""

import functools
import itertools
import math

import numpy as np
import pytest
import torch

from benchmarks.tables import TableSpace
from pipeline import controllers
from pipeline.config.controllers import (
    CONTROLLERS,
    EvolutionConfig,
    PPOConfig,
    PredictorConfig,
    RandomConfig,
    ReinforceConfig,
)
from pipeline.config.search import make_config
from pipeline.controllers import (
    Evolution,
    Outcome,
    PolicyStateError,
    Proposed,
    load_controller,
    load_state,
    save_state,
)
from pipeline.spaces import make_space, registry


def small_space(name, **keys):
    return make_space(make_config({"space": {"name": name, **keys}}).space)


# Keys that make a space small; a space that is not here is searched with its defaults.
SMALL = {
    "nasnet": {"blocks": 1},
    # grows by a layer with each batch
    "nas": dict(heights=[1, 3], widths=[1, 3], layers=2, grow=1, grow_every=10, most_layers=4),
    "enas-macro": {"layers": 3},
    "enas-micro": {"blocks": 1},
}
FOUR = {"blocks": 1, "operations": ["max_pool_3x3", "identity", "sep_conv_3x3", "conv_1x1"]}
SPACES = {
    **{name: small_space(name, **SMALL.get(name, {})) for name in registry.SPACES},
    "nasnet of 4 operations": small_space("nasnet", **FOUR),
    "enas-micro of 4 operations": small_space("enas-micro", **FOUR),
    "enas-macro of 2 operations": small_space(
        "enas-macro", layers=3, operations=["max_pool_3x3", "conv_5x5"]
    ),
    "table": TableSpace((3, 1, 4, 2, 5)),
}
CONFIGS = {
    "ppo": PPOConfig(batch=10, units=8),
    "ppo, small budget": PPOConfig(preset="small-budget", batch=10, units=8),
    "reinforce": ReinforceConfig(batch=10, units=8),
    "reinforce, small budget": ReinforceConfig(preset="small-budget", units=8),
    "evolution": EvolutionConfig(batch=10, population=15, tournament=5),
    "evolution, small budget": EvolutionConfig(
        preset="small-budget", batch=10, population=15, tournament=15
    ),
    "predictor": PredictorConfig(batch=10, start=15, pool=60, climbs=1),
    "random": RandomConfig(batch=10),
}
CONFIGS |= {
    name: one.config()
    for name, one in CONTROLLERS.items()
    if name not in {config.name for config in CONFIGS.values()}
}
NO_REPEATS = [name for name in CONFIGS if "small" in name or name == "predictor"]


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture
def make(config, space):
    return functools.partial(controllers.make_controller, config, space, seed=1)


@pytest.fixture(params=[0, 2], ids=["at its start", "grown up"])
def life(request, config, space):
    blob, proposed = lived(config, space, request.param)
    return load_controller(config, space, blob, seed=1), [*proposed]


@functools.cache
def lived(config, space, batches):
    """(state, what was proposed) of a controller that has learned that number of batches."""
    controller, proposed = controllers.make_controller(config, space, seed=1), []
    for _ in range(batches):
        proposed += live(controller, space, proposed)
    return save_state(controller), proposed


def live(controller, space, proposed):
    """Sample a batch and learn from it; returns its children."""
    proposals = controller.sample(0, 10, proposed)
    controller.update(outcomes_of(proposals))
    return proposed_of(proposals, space, rewarded=True)


def reward_of(proposal):
    return sum(proposal.actions) % 7 / 7


def outcomes_of(proposals):
    return [Outcome(p.actions, p.log_probs, reward_of(p)) for p in proposals]


def proposed_of(proposals, space, *, rewarded=False):
    return [
        Proposed(p.actions, space.digest(p.actions), reward_of(p) if rewarded else None)
        for p in proposals
    ]


def actions_of(proposals):
    return [p.actions for p in proposals]


def snapshot(value):
    """A state as plain values, to compare by ==."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    return value


def test_sampling_twice_gives_the_same_children(life):
    controller, proposed = life
    assert controller.sample(0, 10, proposed) == controller.sample(0, 10, proposed)


@pytest.mark.parametrize("cuts", [(0, 3, 7, 0), (1, 8, 1)])
def test_a_batch_sampled_in_parts_is_the_batch(life, space, cuts):
    controller, proposed = life
    parts = []
    for count in cuts:
        there = proposed + proposed_of(parts, space)
        parts += controller.sample(len(parts), count, there)
    assert parts == controller.sample(0, 10, proposed)  # floats compare bit by bit here


def test_proposals_are_numbered_also_across_batches(life, space):
    controller, proposed = life
    first = controller.sample(0, 7, proposed)
    proposals = controller.sample(7, 16, proposed + proposed_of(first, space))
    assert [p.k for p in proposals] == list(range(7, 23))
    there = proposed + proposed_of(first + proposals[:3], space)
    assert proposals[3:13] == controller.sample(10, 10, there)


def test_sampling_nothing_gives_nothing(life, space):
    controller, proposed = life
    assert controller.sample(0, 0, proposed) == []
    there = proposed + proposed_of(controller.sample(0, 4, proposed), space)
    assert controller.sample(4, 0, there) == []


def test_sampling_changes_no_state(life):
    controller, proposed = life
    before = snapshot(controller.state_dict())
    controller.sample(0, 25, proposed)
    assert snapshot(controller.state_dict()) == before


def test_a_whole_life_moves_no_global_random_state(config, space):
    """Also making one: torch's modules draw their first weights from the global generator."""
    before_torch, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    controller, proposed = controllers.make_controller(config, space, seed=5), []
    for _ in range(3):
        proposed += live(controller, space, proposed)
    load_controller(config, space, save_state(controller), seed=5)
    assert torch.equal(torch.get_rng_state(), before_torch)
    assert (np.random.get_state()[1] == before_numpy).all()


def test_the_global_random_state_changes_no_proposal(life):
    controller, proposed = life
    torch.manual_seed(1)
    first = controller.sample(0, 10, proposed)
    torch.manual_seed(2)
    assert controller.sample(0, 10, proposed) == first


def test_another_seed_or_arm_gives_other_children(make):
    children = actions_of(make().sample(0, 10, []))
    assert actions_of(make(seed=2).sample(0, 10, [])) != children
    assert actions_of(make(arm="control").sample(0, 10, [])) != children
    assert len(set(children)) > 1


def test_another_number_or_version_gives_other_children(life, space):
    controller, proposed = life
    children = controller.sample(0, 10, proposed)
    there = proposed + proposed_of(children, space)
    assert actions_of(controller.sample(10, 10, there)) != actions_of(children)
    controller.update([])
    assert actions_of(controller.sample(0, 10, there)) != actions_of(children)


def test_an_empty_batch_raises_the_version_and_changes_nothing_else(life):
    controller, _ = life
    before = snapshot(controller.state_dict())
    controller.update([])
    assert snapshot(controller.state_dict()) == {**before, "version": before["version"] + 1}


def test_every_proposal_takes_every_decision(life, space):
    controller, proposed = life
    for proposal in controller.sample(0, 30, proposed):
        length = len(proposal.actions)
        assert length == len(proposal.log_probs)
        # a mutation keeps its parent's length
        bred = isinstance(controller, Evolution) and controller.population
        assert length in {
            space.length(n) for n in (range(21) if bred else [10 * controller.version])
        }
        assert all(log_prob <= 0 for log_prob in proposal.log_probs)
        for action, decision in zip(proposal.actions, space.decisions, strict=False):
            assert 0 <= action < decision.choices


def test_proposals_are_plain_values(life):
    """They go into the store as JSON: no numpy or torch scalars."""
    controller, proposed = life
    for proposal in controller.sample(0, 3, proposed):
        assert {type(action) for action in proposal.actions} == {int}
        assert {type(log_prob) for log_prob in proposal.log_probs} == {float}


def test_a_saved_state_carries_everything(life, config, space):
    controller, proposed = life
    blob = save_state(controller)
    other = load_controller(config, space, blob, seed=1)
    assert save_state(other) == blob
    proposals = controller.sample(0, 10, proposed)
    assert other.sample(0, 10, proposed) == proposals
    assert other.update(outcomes_of(proposals)) == controller.update(outcomes_of(proposals))
    assert save_state(other) == save_state(controller)
    proposed = proposed + proposed_of(proposals, space, rewarded=True)
    assert other.sample(0, 10, proposed) == controller.sample(0, 10, proposed)


def test_the_same_state_gives_the_same_bytes(make):
    assert save_state(make()) == save_state(make())


def test_a_state_holds_nothing_that_weights_only_refuses(life):
    """`load_state` loads with weights_only; these types also outlive a release of torch."""

    def types_in(value):
        if isinstance(value, dict):
            return set().union({type(value)}, *map(types_in, value.values()))
        if isinstance(value, list | tuple):
            return set().union({type(value)}, *map(types_in, value))
        return {type(value)}

    controller, _ = life
    names = {kind.__name__ for kind in types_in(controller.state_dict())}
    plain = {"Tensor", "int", "float", "bool", "str", "NoneType", "list", "tuple", "dict"}
    assert names <= plain | {"OrderedDict"}


def test_two_controllers_loaded_from_one_state_share_nothing(life, make, space):
    controller, proposed = life
    state = controller.state_dict()
    first, second = make(), make()
    first.load_state_dict(state)
    second.load_state_dict(state)
    blob = save_state(second)
    live(first, space, proposed)
    assert save_state(second) == blob


def test_who_reads_what_was_proposed_says_so(life, make, space):
    """The tasks show it to nobody else: the proposals must be the same without it."""
    controller, _ = life
    assert controller.reads_proposed is make().reads_proposed
    if not controller.reads_proposed:
        there = proposed_of(make(seed=9).sample(0, 10, []), space, rewarded=True)
        assert controller.sample(0, 10, there) == controller.sample(0, 10, [])


@pytest.mark.parametrize("config", NO_REPEATS, indirect=True)
def test_who_refuses_repeats_proposes_no_architecture_twice(make, config, space):
    """Also no other encoding of it, until the space has none left; then the search goes on."""
    controller, proposed = make(), []
    architectures = (
        {
            space.digest(actions)
            for actions in itertools.product(*(range(d.choices) for d in space.decisions))
        }
        if math.prod(d.choices for d in space.decisions) < 10_000
        else range(10_000)
    )
    for _ in range(13):
        proposed += live(controller, space, proposed)
    digests = [child.digest for child in proposed]
    assert len(set(digests)) == min(len(architectures), len(digests))


@pytest.mark.parametrize("spoil", [lambda blob: b"", lambda blob: blob[:-50], lambda blob: b"x"])
def test_an_unreadable_state_is_said_to_be_one(make, spoil):
    controller = make()
    with pytest.raises(PolicyStateError, match="cannot be read"):
        load_state(controller, spoil(save_state(controller)))


def test_a_state_of_another_controller_is_refused(make, config, space):
    for other in CONFIGS.values():
        if other.name != config.name and {other.name, config.name} != {"ppo", "reinforce"}:
            blob = save_state(controllers.make_controller(other, space, seed=1))
            with pytest.raises(PolicyStateError, match="another controller's"):
                load_state(make(), blob)


def test_a_state_that_is_not_there_is_said_to_be_missing(config, space):
    with pytest.raises(PolicyStateError, match="restore a backup"):
        load_controller(config, space, None, seed=1)
