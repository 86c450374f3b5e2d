"""To score a chunk of children with the weights that they share (ENAS)."""

import functools

import torch

from db.lifecycle import attempts, shared_weights
from db.lifecycle.children import Evaluation
from db.schema.enums import Arm, RewardKind
from db.schema.session import transaction
from pipeline.config.search import RewardConfig
from pipeline.errors import Failure
from pipeline.spaces import make_space
from pipeline.training.device import oom_as_child_error, prepare, torch_device
from pipeline.training.reward import reward
from pipeline.training.scoring import ProposalKey, Scorer
from tasks.attempt import SharedAttempt
from tasks.recorder import Recorder, Write
from tasks.work import run_data, supernet


def score(attempt: SharedAttempt, recorder: Recorder) -> Write:
    """Score a chunk of children with shared weights; returns how to write their rewards.

    As they were drawn, not in their canonical form: weights belong to blocks by their numbers.

    Raises:
        ChildError: the weights cannot be read any more.
    """
    data, training = run_data.load_in_memory(attempt.config), attempt.config.training
    space = make_space(attempt.search.space)
    with transaction(read_only=True) as connection:
        rows = shared_weights.to_score(connection, attempt.run_id)
    device = torch_device(training.device)
    with oom_as_child_error():
        network = supernet.load(attempt, data)
        prepare(device, training.threads)
        scorer = Scorer(network, data, attempt.shared, seed=attempt.seed, device=device)
        asked = [
            (space.decode(row.actions), _images(scorer, row.arm, row.version, row.k))
            for row in rows
        ]
        evaluations: dict[int, Evaluation] = {}
        for row, found, (_, chosen) in zip(rows, scorer.scores(asked), asked, strict=True):
            evaluations[row.id] = _evaluation(found, attempt.search.reward)
            recorder.on_scored(len(chosen))
    scored = sum(len(chosen) for _, chosen in asked)
    return functools.partial(
        shared_weights.finish_scoring,
        run_id=attempt.run_id,
        attempt=attempt.number,
        evaluations=evaluations,
        result=attempts.Result(images_trained=0, images_scored=scored),
        work=recorder.work,
    )


def _images(scorer: Scorer, arm: Arm, version: int, k: int) -> torch.Tensor:
    """The numbers of the validation images a child is scored on."""
    if arm is Arm.DERIVE:  # of the same weights: the best is looked for
        return scorer.all_images()
    return scorer.minibatch(ProposalKey(arm.value, version, k))


def _evaluation(score: float | None, config: RewardConfig) -> Evaluation:
    """A child's reward; of one that gave no finite logits that of failures, and its class."""
    if score is None:
        return Evaluation(
            reward=config.failed,
            reward_kind=RewardKind.SHARED,
            failure=Failure.DIVERGED,
        )
    return Evaluation(reward=reward({"accuracy": [score]}, config), reward_kind=RewardKind.SHARED)
