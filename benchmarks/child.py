"""What a child's training step costs, beside the same network made of timm's NASNet cells.

    python benchmarks/child.py                 # everything
    python benchmarks/child.py --parts step --threads 1

Needs the extra `test`. The step is forward, backward and SGD of NASNet-A, N = 2, F = 32, on
32x32 images in float32. Networks take turns, round after round, in one process; a ratio is the
median of the rounds' ratios. Peak memory is each network's own, in a process of its own.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent.parent))

import torch
from timm.models import nasnet as timm_nasnet
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.config import search as configs
from pipeline.config.training import TrainingConfig
from pipeline.data.datasets import load_dataset
from pipeline.networks.costs import count_parameters
from pipeline.networks.inputs import Inputs
from pipeline.networks.layers import Layers
from pipeline.spaces.cells.cell import Cell, Shape
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.cells.network import CellNetwork, build_network
from pipeline.spaces.cells.published import NASNET_A
from pipeline.training import checkpoint
from pipeline.training.image_problem import ImageProblem
from pipeline.training.optimization import make_optimizer
from pipeline.training.trainer import train

NORMAL_CELLS, FILTERS = 2, 32
BATCH = {1: 32, 2: 64}  # by threads, as in the figures
WARM_UP, ROUNDS, STEPS = 2, 12, 2


class TimmNetwork(nn.Module):
    """timm's cells in the CIFAR skeleton. It projects h_{i-1} of the first cell, too."""

    def __init__(self) -> None:
        super().__init__()
        f, stem = FILTERS, 3 * FILTERS
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, padding=1, bias=False))
        self.stem.append(nn.BatchNorm2d(stem))
        self.cells = nn.ModuleList()
        previous, current, after_reduction = stem, stem, False
        for stage in range(3):
            width = f * 2**stage
            if stage:
                self.cells.append(timm_nasnet.ReductionCell0(previous, width, current, width))
                previous, current, after_reduction = current, 4 * width, True
            for _ in range(NORMAL_CELLS):
                kind = timm_nasnet.FirstCell if after_reduction else timm_nasnet.NormalCell
                left = width // 2 if after_reduction else width
                self.cells.append(kind(previous, left, current, width))
                previous, current, after_reduction = current, 6 * width, False
        self.classifier = nn.Linear(current, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, 32, 32) -> logits (N, 10)."""
        previous = current = self.stem(x)
        for cell in self.cells:
            previous, current = current, cell(current, previous)
        logits: Tensor = self.classifier(current.relu().mean((2, 3)))
        return logits


def our_network() -> CellNetwork:
    """The pipeline's own: h_{i-1} of the first cell is not projected, as in the authors' code."""
    shape = NetworkConfig(num_cells=NORMAL_CELLS, num_filters=FILTERS)
    return build_network(NASNET_A, shape, Inputs((3, 32, 32), 10))


def our_network_of_timms_cells() -> CellNetwork:
    """The pipeline's own, with the first cell's h_{i-1} projected as timm does: equal cells."""
    network = our_network()
    stem = Shape(3 * FILTERS, halvings=0)
    network.cells[0] = Cell(Layers(), NASNET_A.normal, stem, stem, FILTERS, reduction=False)
    return network


VARIANTS: dict[str, tuple[Callable[[], nn.Module], torch.memory_format]] = {
    "timm": (TimmNetwork, torch.contiguous_format),
    "timm channels_last": (TimmNetwork, torch.channels_last),
    "ours, the same cells": (our_network_of_timms_cells, torch.channels_last),
    "ours, as it is built": (our_network, torch.channels_last),
}
SAME = "ours, the same cells"


def make_step(variant: str, batch: int) -> Callable[[], None]:
    """A training step of a variant, on the same images each time."""
    build, layout = VARIANTS[variant]
    torch.manual_seed(0)
    network = build().to(memory_format=layout).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, foreach=True)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=layout)
    labels = torch.arange(batch) % 10

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def seconds_of(step: Callable[[], None]) -> float:
    """How long one step takes, of a few."""
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - started) / STEPS


def step_part(threads: int) -> None:
    """Images a second of each variant, and the ratios."""
    torch.set_num_threads(threads)
    batch = BATCH[threads]
    steps = {variant: make_step(variant, batch) for variant in VARIANTS}
    rounds = []
    for number in range(WARM_UP + ROUNDS):
        # the order turns: whoever goes first in a round has no other's cache
        first = number % len(steps)
        names = [*steps][first:] + [*steps][:first]
        took = {name: seconds_of(steps[name]) for name in names}
        if number >= WARM_UP:
            rounds.append(took)
    print(f"{threads} threads, batch {batch}: medians of {ROUNDS} rounds")
    for variant in VARIANTS:
        median = statistics.median(took[variant] for took in rounds)
        print(f"  {variant:<24} {batch / median:7.1f} images/s")
    for peer in ("timm", "timm channels_last"):
        ratios = [took[peer] / took[SAME] for took in rounds]
        print(f"  the same cells, ours / {peer:<20} {statistics.median(ratios):.2f} x")


def memory_part(threads: int) -> None:
    """Peak memory of a training of each variant."""
    print(f"{threads} threads, batch {BATCH[threads]}: peak resident memory of a process")
    for variant in VARIANTS:
        command = [sys.executable, str(HERE), "--peak", variant, "--threads", str(threads)]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"  {variant:<24} {peak / 2**10:7.0f} MB")


def print_peak(variant: str, threads: int) -> None:
    """Kilobytes that this process grew to by training (getrusage tells the parent's)."""
    torch.set_num_threads(threads)
    step = make_step(variant, BATCH[threads])
    for _ in range(3):
        step()
    status = Path("/proc/self/status").read_text()
    print(re.search(r"VmHWM:\s+(\d+)", status).group(1))


class _Clock:
    """Hooks of a training that note when checkpoints are written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints: list[float] = []

    def on_step(self, images: int) -> None: ...

    def on_scored(self) -> None: ...

    def on_epoch(self, result: object) -> None: ...

    def on_checkpoint(self, state: dict[str, object], epoch: int, step: int) -> None:
        started = time.perf_counter()
        checkpoint.write(str(self.folder / f"{epoch}-{step}.pt"), state)
        self.checkpoints.append(time.perf_counter() - started)


def digits_part() -> None:
    """A child of the preset `digits`: its step, and where the time goes."""
    torch.set_num_threads(1)
    tables = configs.merge(configs.read_preset("digits"), {"training": {"epochs": 12}})
    config = configs.make_config(tables)
    data = load_dataset(config, Path("."))
    torch.manual_seed(0)
    network = build_network(NASNET_A, config.network, data.inputs)
    optimizer = make_optimizer(network, config.training)
    network.to(memory_format=torch.channels_last)
    images = data.train[0][:64].float().contiguous(memory_format=torch.channels_last)
    labels = data.train[1][:64]
    spent = {"forward": 0.0, "backward": 0.0, "optimizer": 0.0}
    for number in range(60):
        marks = [time.perf_counter()]
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(network(images), labels)
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        optimizer.step()
        marks.append(time.perf_counter())
        if number >= 10:
            for name, start, end in zip(spent, marks, marks[1:], strict=False):
                spent[name] += (end - start) / 50
    print(f"digits: NASNet-A, {count_parameters(network):,} parameters, batch 64, 1 thread")
    for name, seconds in spent.items():
        print(f"  {name:<24} {1000 * seconds:6.2f} ms a step")
    whole, waited, steps, written = _train_digits(network, data, config.training)
    print(f"  whole step               {1000 * (whole - sum(written)) / steps:6.2f} ms")
    print(f"  data (augmentation)      {1000 * waited / steps:6.2f} ms a step")
    print(f"  one checkpoint           {1000 * statistics.median(written):6.2f} ms")
    share = statistics.median(written) / TrainingConfig().checkpoint_seconds
    print(f"  checkpoints, one each {TrainingConfig().checkpoint_seconds:.0f} s: {share:.2%}")


def _train_digits(
    network: nn.Module, data: object, config: TrainingConfig
) -> tuple[float, float, int, list[float]]:
    """Seconds of a training, of its data and of its checkpoints; and its steps."""
    config = config.model_copy(update={"checkpoint_seconds": 0.2})
    with tempfile.TemporaryDirectory() as folder:
        clock = _Clock(Path(folder))
        started = time.perf_counter()
        result = train(
            network,
            ImageProblem(data),
            config,
            seed=0,
            device=torch.device("cpu"),
            resume=None,
            hooks=clock,
        )
        whole = time.perf_counter() - started
    steps = result.images_trained // config.batch_size
    return whole, result.waited_here, steps, clock.checkpoints


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="step,memory,digits")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--peak", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    threads = [int(number) for number in arguments.threads.split(",")]
    if arguments.peak:
        print_peak(arguments.peak, threads[0])
        return
    parts = arguments.parts.split(",")
    sizes = {name: count_parameters(VARIANTS[name][0]()) for name in VARIANTS}
    print(f"torch {torch.__version__}; parameters: {json.dumps(sizes)}")
    for number in threads:
        if "step" in parts:
            step_part(number)
        if "memory" in parts:
            memory_part(number)
    if "digits" in parts:
        digits_part()


if __name__ == "__main__":
    main()
