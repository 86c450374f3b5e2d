"""The training loop: interrupted anywhere and resumed, it ends bit for bit the same."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from pipeline.config.run import DataConfig
from pipeline.config.training import TrainingConfig
from pipeline.data.datasets import ImageData, load_dataset
from pipeline.errors import ChildError, Failure, LeaseLostError, LeaseReturnedError
from pipeline.networks.inputs import Inputs
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.cells.network import build_network
from pipeline.spaces.cells.published import NASNET_A
from pipeline.training import checkpoint
from pipeline.training.augmentation import augment
from pipeline.training.checkpoint import CorruptCheckpointError
from pipeline.training.evaluation import Normalize, evaluate
from pipeline.training.feeding import batches_of_epoch, make_feed, steps_per_epoch
from pipeline.training.image_problem import ImageProblem
from pipeline.training.optimization import make_optimizer
from pipeline.training.trainer import train

CPU = torch.device("cpu")
IMAGES, BATCH, EPOCHS = 50, 16, 3  # 4 steps an epoch, the last of 2 images
NEVER = 1e9
CONFIG = TrainingConfig(
    epochs=EPOCHS,
    batch_size=BATCH,
    learning_rate=0.1,
    crop_padding=1,
    cutout=3,
    checkpoint_seconds=NEVER,
)
PLAIN = dict(crop_padding=0, flip=False, cutout=0)


def changed(**changes):
    return CONFIG.model_copy(update=changes)


def make_data(images=IMAGES, channels=3):
    generator = torch.Generator().manual_seed(1)

    def part(count):
        labels = torch.arange(count) % 4
        noise = torch.randint(120, (count, channels, 8, 8), generator=generator)
        return (noise + 40 * labels[:, None, None, None]).to(torch.uint8), labels

    mean, std = (0.5,) * channels, (0.25,) * channels
    return ImageData(part(images), part(20), part(20), tuple("abcd"), mean=mean, std=std)


def make_network(channels=3, width=8):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(0.3),  # its random numbers have to come back too
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 4),
    )


class Recorder:
    """Hooks that write things down, keep the newest checkpoint, and may stop a training."""

    def __init__(self, folder=None, stop_after=None, error=LeaseReturnedError):
        self.folder = folder
        self.stop_after = stop_after
        self.error = error
        self.steps = []
        self.epochs = []
        self.saved = []  # (epoch, step)
        self.newest = None

    def on_step(self, images):
        self.steps.append(images)
        if len(self.steps) == self.stop_after:
            raise self.error("stop")

    def on_scored(self):
        pass

    def on_epoch(self, result):
        self.epochs.append(result)

    def on_checkpoint(self, state, epoch, step):
        self.saved.append((epoch, step))
        if self.folder is not None:
            url = str(self.folder / f"{epoch}-{step}.pt")
            self.newest = checkpoint.read(url, checkpoint.write(url, state)[0])


def run(network, data, config=CONFIG, *, seed=7, resume=None, hooks=None):
    hooks = Recorder() if hooks is None else hooks
    problem = ImageProblem(data)
    return train(network, problem, config, seed=seed, device=CPU, resume=resume, hooks=hooks)


def whole_state(data, folder, resume=None, config=CONFIG):
    """Weights, statistics and momentum after the very last step, from wherever it starts."""
    done = 0 if resume is None else resume["progress"]["epoch"] * 4 + resume["progress"]["step"]
    hooks = Recorder(folder, stop_after=EPOCHS * 4 - done)
    with pytest.raises(LeaseReturnedError):
        run(make_network(), data, config, resume=resume, hooks=hooks)
    return hooks.newest


def assert_same(one, other):
    """Bit for bit, however nested."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"seconds", "waited"}:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    network, hooks = make_network(), Recorder()
    result = run(network, data, hooks=hooks)
    last = whole_state(data, tmp_path_factory.mktemp("unbroken"))
    return network.state_dict(), result, hooks, last


def interrupted(data, folder, stop_after, resume=None, config=CONFIG):
    hooks = Recorder(folder, stop_after=stop_after)
    with pytest.raises(LeaseReturnedError):
        run(make_network(), data, config, resume=resume, hooks=hooks)
    torch.manual_seed(987)  # whatever else the process does meanwhile
    return hooks.newest


@pytest.mark.parametrize("stop_after", range(1, EPOCHS * 4 + 1))
def test_training_resumed_after_any_step_ends_bit_for_bit_the_same(
    data, unbroken, tmp_path, stop_after
):
    weights, result, hooks, last = unbroken
    state = interrupted(data, tmp_path, stop_after)
    if stop_after < EPOCHS * 4:
        assert_same(whole_state(data, tmp_path, resume=checkpoint_copy(state, tmp_path)), last)
    network, rest = make_network(), Recorder()
    resumed = run(network, data, resume=state, hooks=rest)
    assert_same(dict(network.state_dict()), dict(weights))
    assert resumed.accuracies == result.accuracies
    told = [(r.epoch, r.loss, r.train_accuracy, r.accuracy, r.learning_rate) for r in rest.epochs]
    expected = [
        (r.epoch, r.loss, r.train_accuracy, r.accuracy, r.learning_rate) for r in hooks.epochs
    ]
    assert told == expected[-len(told) :]


def checkpoint_copy(state, folder):
    """A state of its own: a training takes over what it resumes from."""
    url = str(folder / "copy.pt")
    return checkpoint.read(url, checkpoint.write(url, state)[0])


def test_training_interrupted_after_every_step_ends_bit_for_bit_the_same(data, unbroken, tmp_path):
    weights, result, _, _ = unbroken
    state = None
    for _ in range(EPOCHS * 4):
        state = interrupted(data, tmp_path, 1, resume=state)
    network = make_network()
    assert run(network, data, resume=state).accuracies == result.accuracies
    assert_same(dict(network.state_dict()), dict(weights))


def test_training_resumed_from_a_timed_checkpoint_ends_bit_for_bit_the_same(
    data, unbroken, tmp_path
):
    weights, result, _, _ = unbroken
    hooks = Recorder(tmp_path, stop_after=7, error=LeaseLostError)
    with pytest.raises(LeaseLostError):
        run(make_network(), data, changed(checkpoint_seconds=0.0), hooks=hooks)
    network = make_network()
    assert run(network, data, resume=hooks.newest).accuracies == result.accuracies
    assert_same(dict(network.state_dict()), dict(weights))


class Spy(nn.Module):
    """Notes which images come, by their first pixel, in training."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 4)
        self.seen = []

    def forward(self, images):
        if self.training:
            self.seen += (images[:, 0, 0, 0] * 255).round().int().tolist()
        return self.head(images.flatten(1))


@pytest.fixture(scope="module")
def numbered():
    """Images that carry their number as first pixel."""
    data = make_data(channels=1)
    data.train[0][:, 0, 0, 0] = torch.arange(IMAGES, dtype=torch.uint8)
    return ImageData(
        data.train, data.validation, data.test, tuple("abcd"), mean=(0.0,), std=(1.0,)
    )


def test_each_epoch_has_every_image_once_in_an_order_of_its_own(numbered):
    spy = Spy()
    run(spy, numbered, changed(**PLAIN))
    epochs = [spy.seen[first : first + IMAGES] for first in range(0, EPOCHS * IMAGES, IMAGES)]
    assert all(sorted(epoch) == list(range(IMAGES)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_order_of_images_does_not_depend_on_where_a_training_was_resumed(numbered, tmp_path):
    unbroken, first, second = Spy(), Spy(), Spy()
    config = changed(**PLAIN)
    run(unbroken, numbered, config)
    hooks = Recorder(tmp_path, stop_after=6)
    with pytest.raises(LeaseReturnedError):
        run(first, numbered, config, hooks=hooks)
    run(second, numbered, config, resume=hooks.newest)
    assert first.seen + second.seen == unbroken.seen


def test_order_depends_on_the_seed_and_not_on_the_batch_size(numbered):
    spies = [Spy(), Spy(), Spy()]
    run(spies[0], numbered, changed(**PLAIN))
    run(spies[1], numbered, changed(**PLAIN, batch_size=25))
    run(spies[2], numbered, changed(**PLAIN), seed=8)
    assert spies[0].seen == spies[1].seen != spies[2].seen


def test_last_batch_is_kept_unless_it_is_a_single_image():
    assert [steps_per_epoch(images, CONFIG) for images in (2, 48, 49, 50)] == [1, 3, 3, 4]
    shared = changed(devices=2)
    assert [steps_per_epoch(images, shared) for images in (48, 51, 52)] == [3, 3, 4]
    hooks = Recorder()
    result = run(make_network(), make_data(49), hooks=hooks)
    assert hooks.steps == [16] * 3 * EPOCHS
    assert result.images_trained == 48 * EPOCHS


def test_result_counts_each_image_once_and_what_was_done_here(data, tmp_path):
    state = interrupted(data, tmp_path, 5)
    hooks = Recorder()
    result = run(make_network(), data, resume=state, hooks=hooks)
    assert result.images_trained == IMAGES * EPOCHS
    assert result.images_scored == 20 * EPOCHS
    assert result.images_trained_here == sum(hooks.steps) == IMAGES * EPOCHS - IMAGES - BATCH
    assert result.images_scored_here == 20 * (EPOCHS - 1)
    assert [(r.images_trained, r.images_scored) for r in hooks.epochs] == [(IMAGES, 20)] * 2


def test_network_learns(data):
    result = run(make_network(), data, changed(epochs=15, **PLAIN))
    assert result.accuracies[-1] > 0.6  # chance is 0.25


def test_learning_rate_falls_to_zero_along_a_cosine(data):
    hooks = Recorder()
    run(make_network(), data, hooks=hooks)
    expected = [0.05 * (1 + math.cos(math.pi * step / 12)) for step in (4, 8, 12)]
    assert [r.learning_rate for r in hooks.epochs] == pytest.approx(expected, abs=1e-9)


def test_checkpoints_come_when_due_and_never_at_the_very_end(data):
    hooks = Recorder()
    run(make_network(), data, changed(checkpoint_seconds=0.0), hooks=hooks)
    steps = [(epoch, step) for epoch in range(EPOCHS) for step in range(4)]
    assert hooks.saved == steps[1:]
    hooks = Recorder()
    run(make_network(), data, hooks=hooks)
    assert hooks.saved == []


def test_lost_lease_stops_without_a_checkpoint(data):
    hooks = Recorder(stop_after=3, error=LeaseLostError)
    with pytest.raises(LeaseLostError):
        run(make_network(), data, hooks=hooks)
    assert hooks.saved == []


def test_returned_lease_leaves_a_checkpoint_of_that_step(data):
    hooks = Recorder(stop_after=6)
    with pytest.raises(LeaseReturnedError):
        run(make_network(), data, hooks=hooks)
    assert hooks.saved == [(1, 2)]


class Breaks(nn.Module):
    """A network that does something else from its n-th training step on."""

    def __init__(self, step, act):
        super().__init__()
        self.inner, self.step, self.act, self.calls = make_network(), step, act, 0

    def forward(self, images):
        self.calls += self.training
        logits = self.inner(images)
        return self.act(logits) if self.calls >= self.step else logits


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_at_once_and_says_where(data, value):
    hooks = Recorder()
    network = Breaks(6, lambda logits: logits * value)
    with pytest.raises(ChildError, match="epoch 2, step 2") as caught:
        run(network, data, changed(checkpoint_seconds=0.0), hooks=hooks)
    assert caught.value.failure is Failure.DIVERGED
    assert hooks.saved[-1] == (1, 1)  # none of the diverged network


@pytest.mark.parametrize(
    "act",
    [lambda _: torch.empty(2**60, dtype=torch.uint8), lambda _: bytearray(2**62)],
    ids=["of torch", "of Python"],
)
def test_memory_that_does_not_suffice_is_the_childs_failure(data, act):
    with pytest.raises(ChildError) as caught:
        run(Breaks(2, act), data)
    assert caught.value.failure is Failure.OOM


def test_other_errors_of_a_network_stay_what_they_are(data):
    with pytest.raises(RuntimeError, match="shape"):
        run(Breaks(1, lambda logits: logits.view(7, 7)), data)


def without(key):
    return lambda state: state.pop(key)


def other_momentum(state):
    for of_parameter in state["optimizer"]["state"].values():
        of_parameter["momentum_buffer"] = torch.zeros(5, 5)


@pytest.mark.parametrize(
    "spoil",
    [
        without("network"),
        without("optimizer"),
        without("progress"),
        lambda state: state.update(progress=None),
        lambda state: state["progress"].pop("step"),
        lambda state: state["progress"].update(unknown=1),
        lambda state: state["progress"].update(epoch=EPOCHS + 1),
        lambda state: state["progress"].update(step=5),
        lambda state: state["progress"].update(step="2"),
        lambda state: state["progress"].update(step=True),
        lambda state: state["progress"].update(seconds=-1e9),
        lambda state: state["progress"].update(waited=float("inf")),
        lambda state: state["progress"].update(loss_sum="much"),
        lambda state: state["progress"].update(correct=None),
        lambda state: state["progress"].update(accuracies=[]),
        lambda state: state["progress"].update(accuracies=["much"]),
        lambda state: state["progress"].update(accuracies=[float("nan")]),
        lambda state: state["network"]["6.bias"].fill_(float("nan")),
        lambda state: state["network"].pop("6.bias"),
        lambda state: state["network"].update({"6.bias": torch.zeros(5)}),
        lambda state: state["optimizer"]["param_groups"].pop(),
        other_momentum,
    ],
)
def test_state_that_does_not_fit_is_corrupt(data, tmp_path, spoil):
    state = interrupted(data, tmp_path, 6)
    spoil(state)
    with pytest.raises(CorruptCheckpointError, match="does not fit"):
        run(make_network(), data, resume=state)


def test_state_of_a_wider_network_is_corrupt(data, tmp_path):
    state = interrupted(data, tmp_path, 6)
    with pytest.raises(CorruptCheckpointError):
        run(make_network(width=9), data, resume=state)


def test_weights_decay_and_batch_norm_and_biases_do_not():
    network = make_network()
    decayed, others = make_optimizer(network, CONFIG).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (CONFIG.weight_decay, 0.0)
    assert [p.shape for p in decayed["params"]] == [network[0].weight.shape, (4, 8)]
    assert len(others["params"]) == 4


def test_gradient_is_clipped_to_its_global_norm(data):
    def first_step(grad_clip):
        network = make_network()
        before = [p.detach().clone() for p in network.parameters()]
        config = changed(epochs=1, grad_clip=grad_clip, weight_decay=0.0, learning_rate=1.0)
        with pytest.raises(LeaseLostError):
            run(network, data, config, hooks=Recorder(stop_after=1, error=LeaseLostError))
        moved = [(p - b).norm() for p, b in zip(network.parameters(), before, strict=True)]
        return torch.stack(moved).norm().item()

    assert first_step(1e-3) == pytest.approx(1e-3, rel=1e-3)
    assert first_step(None) > 1e-2


def test_training_sets_the_number_of_threads_it_is_given(data):
    try:
        run(make_network(), data, changed(epochs=1, threads=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_accuracy_is_a_share_of_all_images_whatever_the_batches():
    data = make_data(600)
    network, normalize = make_network(), Normalize(data, CPU)
    images, labels = data.train
    batches = zip(normalize(images).split(250), labels.split(250), strict=True)
    accuracy = evaluate(network, batches, CPU)["accuracy"]
    with torch.no_grad():
        found = network.eval()(normalize(images)).argmax(1) == labels
    assert accuracy == found.float().mean().item() == pytest.approx(found.sum().item() / 600)


def test_normalized_images_have_mean_0_and_deviation_1():
    images = torch.randint(256, (500, 3, 8, 8), dtype=torch.uint8)
    floats = images.double() / 255
    mean = tuple(floats.mean((0, 2, 3)).tolist())
    std = tuple(floats.std((0, 2, 3), correction=0).tolist())
    part = images, torch.zeros(500, dtype=torch.int64)
    data = ImageData(part, part, part, ("a",), mean=mean, std=std)
    found = Normalize(data, CPU)(images)
    assert found.mean((0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert found.std((0, 2, 3)).tolist() == pytest.approx([1] * 3, abs=1e-4)


def drawn(images, seed=0, **changes):
    return augment(images, changed(**(PLAIN | changes)), torch.Generator().manual_seed(seed))


def augmented(images, seed=0, **changes):
    return drawn(images, seed, **changes).images


def fed(data, **changes):
    """An epoch's images as they are trained on, in the order of the training images."""
    config = changed(**(PLAIN | {"batch_size": len(data.train[1])} | changes))
    feed = make_feed(data, config, seed=0, device=CPU)
    ((images, _),) = feed.train(0, 0)
    (order,) = batches_of_epoch(len(data.train[1]), config, 0, 0)
    return images[order.argsort()]


def test_crop_moves_each_image_by_itself_and_brings_in_black():
    images = torch.randint(1, 256, (64, 3, 8, 8), dtype=torch.uint8)
    padded = torch.nn.functional.pad(images, (2,) * 4)
    found = augmented(images, crop_padding=2)
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)  # (N, C, 5, 5, 8, 8)
    matches = (windows == found[:, :, None, None]).all(-1).all(-1).all(1)
    assert matches.flatten(1).sum(1).eq(1).all()
    assert len(matches.flatten(1).int().argmax(1).unique()) > 15


def test_flip_mirrors_about_half_of_the_images():
    images = torch.randint(256, (200, 1, 8, 8), dtype=torch.uint8)
    found = augmented(images, flip=True)
    flipped = (found == images.flip(3)).flatten(1).all(1)
    assert (flipped | (found == images).flatten(1).all(1)).all()
    assert 70 < flipped.sum() < 130


def uneven_data(images=100):
    """No pixel is black or the mean, which differs by channel."""
    data = make_data(images)
    train = data.train[0].clamp(min=1), data.train[1]
    return dataclasses.replace(data, train=train, mean=(0.21, 0.41, 0.31), std=(0.25, 0.2, 0.1))


@pytest.mark.parametrize("fill", ["mean", "black"])
def test_cutout_blanks_a_square_in_all_channels_with_the_mean_or_with_black(fill):
    """The author's code multiplies normalised images by 0 (uoguelph-mlrg/Cutout: cutout.py)."""
    data = uneven_data()
    plain, found = fed(data), fed(data, cutout=3, cutout_fill=fill)
    black = [-mean / std for mean, std in zip(data.mean, data.std, strict=True)]
    value = torch.zeros(3) if fill == "mean" else torch.tensor(black)
    blank = torch.isclose(found, value[:, None, None])
    assert torch.equal(found[~blank], plain[~blank])
    assert (blank[:, 0] == blank[:, 2]).all()
    counts = blank[:, 0].flatten(1).sum(1)
    assert counts.max() == 9
    assert counts.min() >= 4  # at a corner


def test_what_is_cut_out_with_does_not_move_the_hole():
    data = uneven_data()
    found = [fed(data, cutout=3, cutout_fill=fill) for fill in ("mean", "black")]
    plain = fed(data)
    holes = [(images != plain).any(1) for images in found]
    assert torch.equal(*holes)


@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_may_bring_in_the_mean_as_padding_after_normalising_does(flip):
    data = uneven_data()
    config = dict(crop_padding=2, flip=flip)
    images, mean = drawn(data.train[0], **config, crop_fill="mean")
    black, none = drawn(data.train[0], **config)
    assert none is None
    assert torch.equal(images, black)
    # no pixel of the images is black, so what is black came in
    assert torch.equal(mean, (black == 0).all(1, keepdim=True))
    found = fed(data, **config, crop_fill="mean")
    outside = (found == 0).all(1)
    assert outside.any(0).sum() == 64 - 16  # the middle 4x4 is never reached
    assert torch.equal(found[~outside[:, None].expand_as(found)],
                       fed(data, **config)[~outside[:, None].expand_as(found)])  # fmt: skip


def test_a_black_hole_is_black_also_where_the_crop_brought_the_mean_in():
    data = uneven_data()
    changes = dict(crop_padding=2, cutout=3, crop_fill="mean")
    hole_and_outside = drawn(data.train[0], **changes).mean
    images, outside = drawn(data.train[0], **changes, cutout_fill="black")
    hole = hole_and_outside & ~outside
    assert (images.masked_select(hole) == 0).all()
    assert torch.equal(hole | outside, hole_and_outside)
    assert hole.flatten(1).sum(1).max() == 9


def test_processes_that_share_a_batch_blank_the_pixels_that_one_would():
    data, config = uneven_data(), changed(cutout=3, crop_padding=2, crop_fill="mean")
    feeds = [make_feed(data, config, seed=0, device=CPU, share=(r, 2)) for r in range(2)]
    whole = make_feed(data, config, seed=0, device=CPU).train(0, 0)
    for (expected, _), (first, _), (second, _) in zip(
        whole, *(feed.train(0, 0) for feed in feeds), strict=True
    ):
        assert torch.equal(torch.cat([first, second]), expected)


def test_augmentation_is_a_function_of_its_generator(data):
    images = data.train[0]
    changes = dict(crop_padding=2, flip=True, cutout=3)
    assert torch.equal(augmented(images, 1, **changes), augmented(images, 1, **changes))
    assert not torch.equal(augmented(images, 1, **changes), augmented(images, 2, **changes))


# A cell network, which hears how far its training is.


def make_cell_network(**changes):
    torch.manual_seed(0)
    config = NetworkConfig(num_cells=1, num_filters=2, **changes)
    return build_network(NASNET_A, config, Inputs((3, 8, 8), 4))


@pytest.mark.parametrize("stop_after", [1, 3, 4, 6])
def test_dropped_paths_come_back_bit_for_bit_after_a_resume(data, tmp_path, stop_after):
    config = changed(epochs=2)
    skeleton = {"drop_path_keep": 0.5, "dropout": 0.5, "auxiliary": True}
    whole = make_cell_network(**skeleton)
    expected = run(whole, data, config)
    hooks = Recorder(tmp_path, stop_after=stop_after)
    with pytest.raises(LeaseReturnedError):
        run(make_cell_network(**skeleton), data, config, hooks=hooks)
    resumed = make_cell_network(**skeleton)
    assert run(resumed, data, config, resume=hooks.newest).accuracies == expected.accuracies
    assert_same(dict(resumed.state_dict()), dict(whole.state_dict()))


def test_paths_drop_as_the_training_goes_on(data, monkeypatch):
    network = make_cell_network(drop_path_keep=0.5)
    heard, heads = [], network.heads
    monkeypatch.setattr(network, "heads", lambda x, done: heard.append(done) or heads(x, done))
    run(network, data, changed(epochs=2))
    assert heard == [step / 8 for step in range(8)]


def test_the_auxiliary_loss_counts_with_its_weight(data):
    def trained(weight):
        network = make_cell_network(auxiliary=True)
        before = network.auxiliary[-1].weight.clone()
        run(network, data, changed(epochs=1, auxiliary_weight=weight, weight_decay=0.0))
        return network, torch.equal(network.auxiliary[-1].weight, before)

    without, untouched = trained(0.0)
    assert untouched
    with_it, untouched = trained(0.4)
    assert not untouched
    assert not torch.equal(with_it.stem[0].weight, without.stem[0].weight)


@pytest.mark.slow
def test_a_moving_average_of_a_short_training_is_no_network_of_its_beginning():
    """63 steps at a decay of 0.9999 alone would leave 99 % of the first weights."""
    data = load_dataset(DataConfig(dataset="digits"), None)

    def accuracy(**changes):
        torch.manual_seed(0)
        network = build_network(NASNET_A, NetworkConfig(num_cells=1, num_filters=4), data.inputs)
        config = changed(**PLAIN | {"batch_size": 64, "learning_rate": 0.05} | changes)
        return run(network, data, config).accuracies[-1]

    plain, ramped = accuracy(), accuracy(average_decay=0.9999)
    assert plain > 0.8
    assert ramped > plain - 0.05
    assert accuracy(average_decay=0.9999, average_ramp=False) < 0.5
