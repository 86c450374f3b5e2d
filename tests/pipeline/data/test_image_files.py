"""Images of any size, decoded by loader processes; no loader and no resume changes a result."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from pipeline.config.run import DataConfig
from pipeline.config.training import TrainingConfig
from pipeline.data.check import usual_size
from pipeline.data.datasets import load_dataset
from pipeline.data.image_files import ImageFiles
from pipeline.errors import ChildError, Failure, LeaseReturnedError, MachineError, UserError
from pipeline.networks.inputs import Inputs
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.cells.network import build_network
from pipeline.spaces.cells.published import NASNET_A
from pipeline.training.feeding import make_feed
from pipeline.training.image_problem import ImageProblem
from pipeline.training.trainer import train
from tests.processes import wait_until

CPU = torch.device("cpu")
CONFIG = TrainingConfig(epochs=2, batch_size=8, distort_colors=True, checkpoint_seconds=1e9)


@pytest.fixture
def folder(tmp_path):
    """Two classes of images of all sizes, told apart by their brightness."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 14), ("val", 4)):
        for label, name in enumerate(("dark", "light")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                height, width = generator.integers(9, 40, 2)
                pixels = generator.integers(0, 100, (height, width, 3)) + 120 * label
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def load(folder, size=16):
    config = DataConfig(dataset=f"imagefolder:{folder}", image_size=size, validation=4)
    return load_dataset(config, folder)


def batches_of(data, *, loaders, epoch=0, step=0, seed=5):
    feed = make_feed(data, CONFIG, seed=seed, device=CPU, loaders=loaders)
    images, labels = zip(*feed.train(epoch, step), strict=True)
    scored = [images for images, _ in feed.validation(epoch)]
    return torch.cat(images), torch.cat(labels), torch.cat(scored)


def test_images_of_all_sizes_are_brought_to_one_and_split_once(folder):
    data = load(folder)
    assert isinstance(data, ImageFiles)
    assert data.inputs == Inputs((3, 16, 16), 2)
    parts = [len(part[0]) for part in (data.train, data.validation, data.test)]
    assert parts == [24, 4, 8]
    assert not set(data.train[0]) & set(data.validation[0])
    images, labels, scored = batches_of(data, loaders=0)
    assert images.shape == (24, 3, 16, 16)
    assert scored.shape == (4, 3, 16, 16)
    assert labels.bincount().tolist() == data.train[1].bincount().tolist()
    bright = images.mean((1, 2, 3)) > 0
    assert torch.equal(bright, labels == 1)


def test_loader_processes_change_no_image(folder):
    data = load(folder)
    alone, ahead = batches_of(data, loaders=0), batches_of(data, loaders=2)
    assert all(torch.equal(a, b) for a, b in zip(alone, ahead, strict=True))
    for other in (batches_of(data, loaders=0, seed=6), batches_of(data, loaders=0, epoch=1)):
        assert not torch.equal(other[0], alone[0])  # augmented otherwise
        assert torch.equal(other[2], alone[2])  # validation images are not


def test_a_feed_begins_at_any_step(folder):
    data = load(folder)
    whole, late = batches_of(data, loaders=0), batches_of(data, loaders=0, step=2)
    assert torch.equal(whole[0][16:], late[0])
    assert torch.equal(whole[1][16:], late[1])


@pytest.mark.parametrize(("fill", "value"), [("mean", 0.0), ("black", -1.0)])
def test_images_from_files_are_cut_out_too_whatever_loads_them(folder, fill, value):
    data = load(folder)
    config = CONFIG.model_copy(update={"cutout": 6, "cutout_fill": fill, "distort_colors": False})

    def images(config, loaders=0, share=(0, 1), step=0):
        feed = make_feed(data, config, seed=5, device=CPU, loaders=loaders, share=share)
        trained = [images for images, _ in feed.train(0, step)]
        return trained, torch.cat([images for images, _ in feed.validation(0)]) if not share[
            0
        ] else None

    plain, scored = images(config.model_copy(update={"cutout": 0}))
    found, also_scored = images(config)
    assert torch.equal(scored, also_scored)  # validation images are whole
    blank = (torch.cat(found) != torch.cat(plain)).any(1)
    assert (torch.cat(found).movedim(1, -1)[blank] == value).all()
    counts = blank.flatten(1).sum(1)
    assert counts.min() >= 9  # a quarter, at a corner
    assert counts.max() == 36
    assert torch.equal(torch.cat(images(config, loaders=2)[0]), torch.cat(found))
    assert torch.equal(images(config, step=2)[0][0], found[2])
    halves = [images(config, share=(rank, 2))[0] for rank in range(2)]
    assert torch.equal(torch.cat([halves[0][0], halves[1][0]]), found[0])


class Hooks:
    """Keeps the newest state; gives the run back after some steps."""

    def __init__(self, stop_after=None):
        self.stop_after, self.steps, self.epochs, self.newest = stop_after, 0, [], None

    def on_step(self, images):
        self.steps += 1
        if self.steps == self.stop_after:
            raise LeaseReturnedError("stop")

    def on_scored(self): ...

    def on_epoch(self, result):
        self.epochs.append(result)

    def on_checkpoint(self, state, epoch, step):
        network = {name: tensor.clone() for name, tensor in state["network"].items()}
        self.newest = {**state, "network": network}


def run(data, hooks, resume=None, **changes):
    torch.manual_seed(0)
    network = build_network(
        NASNET_A, NetworkConfig(num_cells=1, num_filters=4), Inputs((3, 16, 16), 2)
    )
    config = CONFIG.model_copy(update=changes)
    problem = ImageProblem(data)
    return train(
        network, problem, config, seed=5, device=CPU, resume=resume, hooks=hooks, test=True
    )


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_training_on_files_resumes_bit_for_bit(folder, stop_after):
    data, hooks = load(folder), Hooks()
    unbroken = run(data, hooks, average_decay=0.5)
    first, second = Hooks(stop_after), Hooks()
    with pytest.raises(LeaseReturnedError):
        run(data, first, average_decay=0.5)
    resumed = run(data, second, resume=first.newest, average_decay=0.5)
    assert resumed.accuracies == unbroken.accuracies
    assert resumed.test_metrics == unbroken.test_metrics
    assert all(torch.equal(resumed.weights[n], t) for n, t in unbroken.weights.items())
    assert first.steps + second.steps == hooks.steps == 6
    assert all(0 < result.waited < result.seconds for result in hooks.epochs)


LOADING = """
import sys, time
import torch
from pathlib import Path
from pipeline.config.training import TrainingConfig
from pipeline.data.image_files import Item, load
from pipeline.data.image_trees import ImageFile
if __name__ == "__main__":
    path = Path(sys.argv[1])
    file = ImageFile(path.parent, path.name, path.stat().st_size)
    batches = ([Item(file, 0)] for _ in range(10**6))
    stream = load(batches, 8, TrainingConfig(), loaders=2)
    next(stream)
    print("loading", flush=True)
    time.sleep(600)
"""


def test_loaders_end_with_a_process_that_is_killed(folder, tmp_path):
    (tmp_path / "loading.py").write_text(LOADING)
    image = next((folder / "train").rglob("*.png"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, tmp_path / "loading.py", image],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout.readline() == b"loading\n"
    begun = psutil.Process(process.pid).children(recursive=True)
    assert len(begun) == 4  # the fork server, its resource tracker, two loaders
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(lives, begun)), what="the loaders' end")


def lives(process):
    """Whether it has not ended, though nobody may have asked yet how it did."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_image_that_cannot_be_read_is_a_failure_of_the_data(folder):
    broken = next((folder / "train").rglob("*.png"))
    broken.write_bytes(b"no image")
    with pytest.raises(ChildError, match=broken.name) as caught:
        run(load(folder), Hooks())
    assert caught.value.failure is Failure.DATA


@pytest.mark.parametrize("fault", ["gone", "another", "unreadable"])
def test_an_image_that_is_not_what_was_listed_is_the_machine_s_fault(folder, fault):
    data = load(folder)
    image = data.train[0][0].root / data.train[0][0].name
    if fault == "gone":
        image.unlink()
    elif fault == "another":
        Image.new("RGB", (500, 500)).save(image)
    else:
        image.unlink()
        image.mkdir()
    with pytest.raises(MachineError, match=image.name):
        run(data, Hooks())


def test_only_folders_have_an_image_size(folder):
    with pytest.raises(UserError, match="digits is no image folder"):
        load_dataset(DataConfig(dataset="digits", image_size=16), folder)
    with pytest.raises(UserError, match="set image_size"):
        load_dataset(DataConfig(dataset=f"imagefolder:{folder}"), folder)
    assert 9 <= usual_size(folder) < 40
