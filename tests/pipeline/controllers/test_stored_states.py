"""States that the release before wrote go on in this one.

``states/NAME.state`` was saved by the release that had no list of operations in a space, after
two batches; ``states/NAME.json`` has the configuration, what was proposed so far with its
rewards, and what that release proposed next.
"""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pipeline.config.controllers import AnyControllerConfig
from pipeline.controllers import PolicyStateError, Proposed, load_controller
from pipeline.spaces import NASNetSpace, make_space
from pipeline.spaces.cells import genotype, operations
from pipeline.spaces.cells.config import NASNetSpaceConfig
from pipeline.spaces.cells.genotype import PAPER_OPERATIONS

STATES = Path(__file__).parent / "states"
NEW = "sep_conv_9x9"


@pytest.fixture(params=sorted(path.stem for path in STATES.glob("*.json")))
def stored(request):
    """(configuration, state, what was proposed, what came next) of a controller."""
    told = json.loads((STATES / f"{request.param}.json").read_text())
    config = TypeAdapter(AnyControllerConfig).validate_python(told["config"])
    space = NASNetSpace(1)
    proposed = [
        Proposed(tuple(actions), space.digest(actions), reward)
        for actions, reward in told["proposed"]
    ]
    state = (STATES / f"{request.param}.state").read_bytes()
    return config, state, proposed, told["next"]


@pytest.fixture
def another_operation(monkeypatch):
    """As if a plug-in or a later release had one operation more."""
    monkeypatch.setattr(genotype, "OPERATIONS", (*genotype.OPERATIONS, NEW))
    monkeypatch.setattr(genotype, "_KNOWN", {*genotype.OPERATIONS})
    monkeypatch.setitem(operations.CONSTRUCTORS, NEW, operations.separable(9))


def next_of(config, state, proposed, space):
    controller = load_controller(config, space, state, seed=1)
    return [list(proposal.actions) for proposal in controller.sample(0, 10, proposed)]


def test_a_stored_state_proposes_what_it_proposed_when_it_was_stored(stored):
    config, state, proposed, expected = stored
    assert next_of(config, state, proposed, NASNetSpace(1)) == expected


def test_a_stored_state_goes_on_where_an_operation_more_is_known(stored, another_operation):
    config, state, proposed, expected = stored
    space = make_space(NASNetSpaceConfig(blocks=1))
    assert next_of(config, state, proposed, space) == expected


def test_a_state_of_other_operations_is_refused(stored, another_operation):
    config, state, *_ = stored
    if config.name == "predictor":
        pytest.skip("it has no head for the operations: its parameters are one for each decision")
    space = make_space(NASNetSpaceConfig(blocks=1, operations=(*PAPER_OPERATIONS, NEW)))
    with pytest.raises(PolicyStateError, match="cannot be read"):
        load_controller(config, space, state, seed=1)
