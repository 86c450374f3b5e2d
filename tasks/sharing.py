"""Runs without a child: a pass over shared weights, and children scored with them (ENAS)."""

import functools
from collections.abc import Callable
from typing import Any

import structlog
import torch
from sqlalchemy import Connection
from torch import nn

from db.lifecycle import attempts, leases, shared_weights
from db.lifecycle.children import Answer
from db.schema.enums import Arm, RewardKind
from db.schema.session import transaction
from pipeline.config.search import RunConfig, SearchConfig, load_config
from pipeline.data.datasets import ImageData
from pipeline.errors import ChildError, Failure
from pipeline.spaces import make_space
from pipeline.spaces.building import build_shared
from pipeline.spaces.cells.genotype import SearchedGenotype
from pipeline.training import checkpoint
from pipeline.training.reward import reward
from pipeline.training.shared_weights import Place, Scorer, SharedPass
from pipeline.training.trainer import out_of_memory_is_an_answer
from tasks import devices, policies
from tasks.route import Route

log = structlog.get_logger("tasks")

# The arm that a pass draws its children for: they are no rows, only numbers of a generator.
PASS = "shared"

# The supernet this process worked with last, by the sha256 of its weights and what it is built
# of: reading a large one costs more than scoring a child with it.
_kept: dict[tuple[Any, ...], nn.Module] = {}


def train_pass(
    claim: leases.Claim, config: RunConfig, data: ImageData, route: Route
) -> Callable[[Connection], object]:
    """Train the shared weights for a phase; returns how to write that.

    Raises:
        ChildError: the weights of the phase before cannot be read any more, or the pass diverged.
    """
    search = _search_config(claim)
    assert search.shared is not None
    assert claim.version is not None
    assert claim.search_id is not None
    number = claim.version // search.shared.updates
    for state in route.states():
        try:
            with route.going_on(state):
                shared = _begin(claim, config, data, route, number, state)
                children = draw_children(search, claim.search_id, claim.version, shared.steps)
                with out_of_memory_is_an_answer():
                    shared.run(children)
        except checkpoint.CorruptCheckpointError as error:
            if state is None:
                raise ChildError(Failure.DATA, str(error)) from error
            log.warning("checkpoint does not fit; an older one is tried", error=str(error))
            continue
        sha256 = route.keep_weights(shared.weights())
        _keep(claim, config, data, sha256, shared.supernet)
        result = attempts.Result(images_trained=shared.images, images_scored=0)
        return functools.partial(route.finish_pass, number, result)
    raise AssertionError("the last state is None, which always fits")


def _begin(
    claim: leases.Claim,
    config: RunConfig,
    data: ImageData,
    route: Route,
    number: int,
    state: dict[str, Any] | None,
) -> SharedPass:
    """A pass at its checkpoint, or at the weights of the one before, or at random ones."""
    with out_of_memory_is_an_answer():
        torch.manual_seed(claim.seed)
        shared = SharedPass(
            _supernet(claim, config, data),
            data,
            config.training,
            number=number,
            seed=claim.seed,
            device=devices.torch_device(config.training.device or "cpu"),
            hooks=route,
        )
        if state is None:
            state = route.start_weights()
        if state is not None:
            shared.load_weights(state)
    return shared


def draw_children(
    search: SearchConfig, search_id: int, version: int, count: int
) -> list[SearchedGenotype]:
    """The children of a pass's minibatches: drawn by a policy version, in one call."""
    controller = policies.read(search, search_id, version, arm=PASS)
    proposed = policies.proposed(search_id, version) if controller.reads_proposed else []
    space = make_space(search.space)
    return [space.decode(p.actions) for p in controller.sample(0, count, proposed)]


def score(
    claim: leases.Claim, config: RunConfig, data: ImageData, route: Route
) -> Callable[[Connection], object]:
    """Score a chunk of children with shared weights; returns how to write their rewards.

    As they were drawn, not in their canonical form: weights belong to blocks by their numbers.

    Raises:
        ChildError: the weights cannot be read any more.
    """
    search = _search_config(claim)
    assert search.shared is not None
    space = make_space(search.space)
    with transaction(read_only=True) as connection:
        rows = shared_weights.to_score(connection, claim.run_id)
    with out_of_memory_is_an_answer():
        supernet = _loaded(claim, config, data, route)
        torch.set_num_threads(config.training.threads)
        device = devices.torch_device(config.training.device or "cpu")
        scorer = Scorer(supernet, data, search.shared, seed=claim.seed, device=device)
        asked = [(space.decode(row.actions), _images(scorer, row)) for row in rows]
        answers: dict[int, Answer] = {}
        for row, found, (_, chosen) in zip(rows, scorer.scores(asked), asked, strict=True):
            answers[row.id] = _answer(found, search)
            route.on_scored(len(chosen))
    scored = sum(len(chosen) for _, chosen in asked)
    result = attempts.Result(images_trained=0, images_scored=scored)
    return functools.partial(
        shared_weights.finish_scoring,
        run_id=claim.run_id,
        attempt=claim.attempt,
        answers=answers,
        result=result,
        work=route.work,
    )


def _images(scorer: Scorer, row: Any) -> torch.Tensor:
    """The numbers of the validation images a child is scored on."""
    if row.arm is Arm.DERIVE:  # of the same weights: the best is looked for
        return scorer.all_images()
    return scorer.minibatch(Place(row.arm.value, row.version, row.k))


def _answer(score: float | None, search: SearchConfig) -> Answer:
    """A child's reward; of one that gave no finite logits that of failures, and its class."""
    if score is None:
        return Answer(
            reward=search.reward.failed,
            reward_kind=RewardKind.SHARED,
            failure=Failure.DIVERGED,
        )
    earned = reward([score], search.reward, stopped=False)
    return Answer(reward=earned, reward_kind=RewardKind.SHARED)


def _search_config(claim: leases.Claim) -> SearchConfig:
    assert claim.search_config is not None
    return load_config(claim.search_config)


def _supernet(claim: leases.Claim, config: RunConfig, data: ImageData) -> nn.Module:
    """A search's supernet, its weights at random."""
    assert config.network is not None
    return build_shared(
        _search_config(claim).space,
        config.network,
        image_shape=data.image_shape,
        classes=data.classes,
    )


def _loaded(claim: leases.Claim, config: RunConfig, data: ImageData, route: Route) -> nn.Module:
    """The supernet with the weights a run starts from; kept from the run before, where it can."""
    key = _key(claim, config, data, claim.start_sha256)
    if key not in _kept:
        supernet = _supernet(claim, config, data)
        try:
            weights = route.start_weights()
            assert weights is not None  # a scoring run always starts from some
            supernet.load_state_dict(weights["network"])
        except (checkpoint.CorruptCheckpointError, KeyError, RuntimeError) as error:
            raise ChildError(Failure.DATA, f"shared weights: {error}") from error
        _keep(claim, config, data, claim.start_sha256, supernet)
    return _kept[key]


def _keep(
    claim: leases.Claim,
    config: RunConfig,
    data: ImageData,
    sha256: str | None,
    supernet: nn.Module,
) -> None:
    _kept.clear()
    _kept[_key(claim, config, data, sha256)] = supernet


def _key(
    claim: leases.Claim, config: RunConfig, data: ImageData, sha256: str | None
) -> tuple[Any, ...]:
    return sha256, _search_config(claim).space, config.network, data.image_shape, data.classes
