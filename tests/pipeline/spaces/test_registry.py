"""What every search space keeps to; a new one is taken up by its line in the registry."""

import json
import random
import subprocess
import sys

import pytest
import torch

from pipeline.config.search import load_config, make_config
from pipeline.config.tables import preset_names, read_preset
from pipeline.errors import UserError
from pipeline.genotypes.differences import differences, in_words
from pipeline.genotypes.drawing import picture_of, picture_of_comparison
from pipeline.networks.inputs import Inputs
from pipeline.spaces import make_space
from pipeline.spaces.base import literal_of
from pipeline.spaces.building import build, build_shared
from pipeline.spaces.registry import (
    SPACES,
    genotype_from_data,
    kind_of,
    searched_from_data,
    skeletons_of,
)

INPUTS = Inputs((3, 16, 16), 5)


@pytest.fixture(params=SPACES)
def space_type(request):
    return SPACES[request.param]


@pytest.fixture
def config(space_type):
    """The space that a search gets that names it, and nothing else."""
    return make_config({"space": {"name": space_type.name}}).space


@pytest.fixture
def space(config):
    return make_space(config)


@pytest.fixture(params=range(3))
def genotype(request, space):
    return space.decode(drawn(space, request.param))


def drawn(space, seed):
    chance = random.Random(seed)
    return tuple(chance.randrange(d.choices) for d in space.decisions[: space.length(0)])


def test_a_search_that_names_a_space_has_its_skeleton_and_is_loaded_as_it_was_stored(space_type):
    config = make_config({"space": {"name": space_type.name}})
    assert isinstance(config.space, space_type.config)
    assert isinstance(config.network, space_type.skeletons[0])
    assert load_config(config.model_dump(mode="json")) == config


def test_a_preset_has_a_space_s_keys(space_type):
    assert space_type.preset in preset_names()
    assert make_config(read_preset(space_type.preset)).space.name == space_type.name


def test_a_proposal_is_a_genotype_of_the_space_s_kind_and_back(space_type, space):
    for seed in range(20):
        actions = drawn(space, seed)
        genotype = space.decode(actions)
        genotype.validate()
        assert isinstance(genotype, space_type.kind.genotype)
        assert space.encode(genotype) == actions
        assert space.digest(actions) == genotype.digest
        assert space.decode(space.canonical(actions)).digest == genotype.digest


def test_every_decision_of_a_space_and_each_of_its_choices_has_a_name(space):
    assert [len(choices) for _, choices in space.labels] == [d.choices for d in space.decisions]
    assert len({name for name, _ in space.labels}) == len(space.decisions)


def test_a_genotype_survives_its_json(genotype):
    data = json.loads(genotype.to_json())
    assert genotype_from_data(data) == searched_from_data(data) == genotype
    assert genotype.canonical().is_canonical
    assert genotype.canonical().digest == genotype.digest


def test_a_genotype_can_be_said_drawn_and_compared(genotype, space):
    words = kind_of(genotype).words
    assert in_words(genotype)
    assert list(words.lines(genotype))
    picture = picture_of(genotype)
    names = {node.name for node in picture.nodes}
    assert names
    assert {end for edge in picture.edges for end in (edge.tail, edge.head)} <= names
    assert differences(genotype, genotype) == []
    other = space.decode(drawn(space, 99))
    found = differences(genotype, other)
    assert found
    marked = {node.mark for node in picture_of_comparison(genotype, other).nodes}
    marked |= {edge.mark for edge in picture_of_comparison(genotype, other).edges}
    assert {difference.mark for difference in found} <= marked


def test_a_genotype_is_built_in_each_skeleton_of_its_space_and_in_none_of_other_kinds(
    space_type, genotype
):
    others = {s for one in SPACES.values() for s in one.skeletons}
    others -= {*skeletons_of(genotype.kind)}
    for skeleton in space_type.skeletons:
        network = build(genotype, small(skeleton), INPUTS)
        assert network(torch.zeros(2, *INPUTS.shape)).shape == (2, INPUTS.classes)
    for skeleton in others:
        with pytest.raises(UserError, match=r"network.skeleton: a genotype of kind"):
            build(genotype, small(skeleton), INPUTS)


def small(skeleton):
    """A skeleton with few filters, where it has such a key."""
    keys = {"num_filters": 4, "filters": 4, "num_cells": 1}
    known = {key: value for key, value in keys.items() if key in skeleton.model_fields}
    return skeleton(skeleton=literal_of(skeleton, "skeleton"), **known)


def test_children_of_a_space_that_says_so_share_weights(space_type, config, space):
    skeleton = small(space_type.skeletons[0])
    if space_type.build_shared is None:
        with pytest.raises(UserError, match="share no weights"):
            build_shared(config, skeleton, INPUTS)
        return
    supernet = build_shared(config, skeleton, INPUTS)
    child = space.decode(drawn(space, 0))
    assert supernet(torch.zeros(2, *INPUTS.shape), child).shape == (2, 5)
    alone = build(child, skeleton, INPUTS)
    assert alone.state_dict().keys() <= supernet.state_dict().keys()


def test_nothing_of_a_space_but_its_networks_needs_torch():
    heavy = (
        "import sys, pipeline.config.search, pipeline.genotypes.drawing, pipeline.spaces.registry"
        "; print([name for name in ('torch', 'torchvision') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True)
    assert told.stdout == "[]\n", told.stderr
