"""To train the weights that a search's children share, for one pass (ENAS)."""

import torch
from torch import nn

from db.lifecycle import attempts
from pipeline.config.search import SearchConfig
from pipeline.data.datasets import ImageData
from pipeline.spaces import make_space
from pipeline.spaces.base import Genotype
from pipeline.training import shared_weights
from pipeline.training.checkpoint import State
from pipeline.training.device import oom_as_child_error, prepare, torch_device
from pipeline.training.feeding import steps_per_epoch
from pipeline.training.image_problem import ImageProblem
from tasks import policies
from tasks.attempt import SharedAttempt
from tasks.recorder import Recorder, Write
from tasks.work import run_data, supernet

# The arm that a pass draws its children for: they are no rows, only numbers of a generator.
ARM = "shared"


def train(attempt: SharedAttempt, recorder: Recorder) -> Write:
    """Train the shared weights for a phase; returns how to write that.

    Raises:
        ChildError: the weights of the phase before cannot be read any more, or the pass diverged.
    """
    data = run_data.load_in_memory(attempt.config)
    number = attempt.version // attempt.shared.updates

    def begin(state: State | None) -> tuple[nn.Module, shared_weights.PassResult]:
        return _train_from(state, attempt, data, number, recorder)

    network, trained = recorder.from_newest_checkpoint(begin)
    supernet.keep(attempt, data, recorder.keep_weights(trained.state), network)
    result = attempts.Result(images_trained=trained.images_trained, images_scored=0)
    return recorder.done(result, shared=number)


def _train_from(
    state: State | None, attempt: SharedAttempt, data: ImageData, number: int, recorder: Recorder
) -> tuple[nn.Module, shared_weights.PassResult]:
    """A pass from its checkpoint, or from the weights of the one before, or from random ones."""
    training = attempt.config.training
    device = torch_device(training.device)
    prepare(device, training.threads)  # the children are drawn with as many threads
    start = None
    if state is None and attempt.start is not None:
        start = attempt.start.read()
    with oom_as_child_error():
        torch.manual_seed(attempt.seed)
        network = supernet.build(attempt, data)
    steps = steps_per_epoch(len(data.train[1]), training)
    trained = shared_weights.train_pass(
        network,
        ImageProblem(data),
        training,
        draw_children(attempt.search, attempt.search_id, attempt.version, steps),
        number=number,
        seed=attempt.seed,
        device=device,
        hooks=recorder,
        start=start,
        resume=state,
    )
    return network, trained


def draw_children(
    search: SearchConfig, search_id: int, version: int, count: int
) -> list[Genotype]:
    """The children of a pass's minibatches: drawn by a policy version, in one call."""
    controller = policies.read(search, search_id, version, arm=ARM)
    proposed = policies.proposed(search_id, version) if controller.reads_proposed else []
    space = make_space(search.space)
    return [space.decode(p.actions) for p in controller.sample(0, count, proposed)]
