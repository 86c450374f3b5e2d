"""To train one network: a child for its reward, or a genotype in full (retrain, transfer ...)."""

import math

import torch
from torch import nn

from db.lifecycle import attempts, epochs
from db.schema.session import transaction
from pipeline.networks.costs import count_macs, count_parameters
from pipeline.networks.inputs import Inputs
from pipeline.networks.weights import load_body
from pipeline.settings import get_settings
from pipeline.spaces.base import Genotype
from pipeline.spaces.building import build
from pipeline.spaces.registry import AnyNetworkConfig
from pipeline.training import trainer
from pipeline.training.checkpoint import State
from pipeline.training.device import oom_as_child_error, torch_device
from pipeline.training.early_stopping import make_judge
from pipeline.training.group import Group
from pipeline.training.hooks import TrainingResult
from pipeline.training.image_problem import ImageProblem
from pipeline.training.loop import Judge
from pipeline.training.parallel import Job, process_group
from tasks.attempt import ChildOfSearch, NetworkAttempt
from tasks.recorder import Recorder, Write
from tasks.work import run_data


def train(attempt: NetworkAttempt, recorder: Recorder) -> Write:
    """Train from the newest checkpoint that can be read; returns how to write the end.

    Raises:
        ChildError: it diverged, ran out of memory, or what it starts from cannot be read.
    """
    settings, config = get_settings(), attempt.config
    job = Job(attempt.genotype, config, attempt.seed, settings.data_folder, settings.loaders)

    def begin(state: State | None) -> Write:
        with process_group(job, config.training.devices) as group:
            return _train_from(state, attempt, recorder, group)

    return recorder.from_newest_checkpoint(begin)


def _train_from(
    state: State | None, attempt: NetworkAttempt, recorder: Recorder, group: Group
) -> Write:
    config, child = attempt.config, attempt.child
    problem = ImageProblem(run_data.load(config))
    with oom_as_child_error():
        network = seeded_network(attempt.genotype, config.network, problem.inputs, attempt.seed)
        if state is None and attempt.start is not None:
            load_body(network, attempt.start.read())
        parameters = count_parameters(network)
        macs = count_macs(network, problem.inputs.shape)
    trained = trainer.train(
        network,
        problem,
        config.training,
        seed=attempt.seed,
        device=torch_device(config.training.device),
        resume=state,
        hooks=recorder,
        test=child is None,
        loaders=get_settings().loaders,
        group=group,
        is_hopeless=None if child is None else _judge(child),
    )
    earned = None
    if child is None:
        recorder.keep_weights(trained.weights)
    else:
        curves = {"accuracy": trained.accuracies}
        earned = child.earned(curves, stopped=trained.stopped)
        recorder.keep_weights_of_best(trained.weights, child.search_id, earned.reward)
    result = attempts.Result(
        accuracy=trained.accuracies[-1],
        test_accuracy=None if trained.test_metrics is None else trained.test_metrics["accuracy"],
        parameters=parameters,
        macs=macs,
        images_trained=trained.images_trained,
        images_scored=trained.images_scored,
        metrics=_named(trained),
    )
    return recorder.done(result, earned)


def _named(trained: TrainingResult) -> dict[str, float]:
    """What was measured and has no column of its own, by part and name."""
    parts = {"validation": trained.metrics, "test": trained.test_metrics or {}}
    return {
        f"{part}_{name}": value
        for part, metrics in parts.items()
        for name, value in metrics.items()
        if name != "accuracy" and math.isfinite(value)
    }


def seeded_network(
    genotype: Genotype, config: AnyNetworkConfig | None, inputs: Inputs, seed: int
) -> nn.Module:
    """A genotype's network, its weights drawn by a seed."""
    torch.manual_seed(seed)
    return build(genotype, config, inputs)


def _judge(child: ChildOfSearch) -> Judge | None:
    """What says when a child is hopeless; None where its search stops none."""
    if child.early_stopping is None:
        return None
    with transaction(read_only=True) as connection:
        return make_judge(child.early_stopping, epochs.known_curves(connection, child.id))
