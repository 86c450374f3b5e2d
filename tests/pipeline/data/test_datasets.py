"""Data sets: split the same everywhere, and refused in one line where they cannot be used."""

import gzip
import hashlib
import pickle
import struct
import subprocess
import sys
import urllib.request
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.run import DataConfig
from pipeline.data import torchvision_datasets
from pipeline.data.dataset_names import check_dataset
from pipeline.data.datasets import load_dataset
from pipeline.data.downloads import fetch_dataset
from pipeline.data.known_datasets import DATASETS
from pipeline.errors import MachineError, UserError


def load(dataset, folder, **changes):
    return load_dataset(DataConfig(dataset=str(dataset), **changes), folder)


def bytes_of(part):
    return sorted(
        image.numpy().tobytes() + bytes([label]) for image, label in zip(*part, strict=True)
    )


# digits


def test_digits_are_1297_250_and_250_grey_images_of_8x8(tmp_path):
    data = load("digits", tmp_path)
    assert [len(part[1]) for part in (data.train, data.validation, data.test)] == [1297, 250, 250]
    assert data.inputs.shape == (1, 8, 8)
    assert data.classes == 10
    for images, labels in (data.train, data.validation, data.test):
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert images.shape == (len(labels), 1, 8, 8)
        assert images.is_contiguous()
    assert data.train[0].min() == 0
    assert data.train[0].max() == 255  # scikit-learn's 16


def test_test_images_are_the_same_for_every_split_seed(tmp_path):
    one, other = (load("digits", tmp_path, split_seed=seed) for seed in (0, 1))
    assert torch.equal(one.test[0], other.test[0])
    assert torch.equal(one.test[1], other.test[1])
    assert not torch.equal(one.validation[0], other.validation[0])


def test_test_digits_are_those_of_every_earlier_release(tmp_path):
    images, labels = load("digits", tmp_path).test
    digest = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    assert digest == "80368a87dc24c4a1b662aea1637cd939660071b7c0c05ba23cfbcde1d9d51322"


def test_no_digit_is_in_two_parts(tmp_path):
    data = load("digits", tmp_path)
    parts = [set(bytes_of(part)) for part in (data.train, data.validation, data.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797


def test_same_split_seed_gives_the_same_split(tmp_path):
    one, other = (load("digits", tmp_path, split_seed=3) for _ in range(2))
    assert torch.equal(one.train[0], other.train[0])
    assert torch.equal(one.validation[1], other.validation[1])


def test_parts_of_digits_together_are_all_digits(tmp_path):
    from sklearn.datasets import load_digits

    data = load("digits", tmp_path, split_seed=5)
    found = load_digits()
    whole = torch.from_numpy(np.round(found.images * 255 / 16).astype(np.uint8)[:, None])
    labels = torch.from_numpy(found.target)
    parts = bytes_of(data.train) + bytes_of(data.validation) + bytes_of(data.test)
    assert sorted(parts) == bytes_of((whole, labels))


def test_mean_and_deviation_are_those_of_the_training_images(tmp_path):
    data = load("digits", tmp_path)
    floats = data.train[0].double() / 255
    assert data.mean == pytest.approx((floats.mean().item(),))
    assert data.std == pytest.approx((floats.std(correction=0).item(),))


# npz


def numbered(count, channels=3):
    """Images no two of which are equal."""
    images = np.zeros((count, 4, 5, channels), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


def archive(**changes):
    test = numbered(20)
    test[:, 1, 1, 1] = 255  # none is a training image
    arrays = dict(
        x_train=numbered(100), y_train=np.arange(100) % 4, x_test=test, y_test=np.arange(20) % 4
    )
    return {k: v for k, v in (arrays | changes).items() if v is not None}


@pytest.fixture
def npz(tmp_path):
    def write(**changes):
        path = tmp_path / "images.npz"
        np.savez(path, **archive(**changes))
        return f"npz:{path}"

    return write


def test_validation_and_training_and_test_images_do_not_overlap(npz, tmp_path):
    data = load(npz(), tmp_path, split_seed=4)
    train, validation, test = (
        {image.numpy().tobytes() for image in part[0]}
        for part in (data.train, data.validation, data.test)
    )
    assert (len(train), len(validation), len(test)) == (90, 10, 20)
    assert len(train | validation | test) == 120


def test_npz_images_keep_their_labels_and_orientation(npz, tmp_path):
    data = load(npz(), tmp_path)
    assert data.inputs.shape == (3, 4, 5)
    for images, labels in (data.train, data.validation, data.test):
        assert torch.equal(images[:, 0, 0, 0].long() % 4, labels)


@pytest.mark.parametrize("validation", [1, 7, 98])
def test_validation_is_as_many_images_as_configured(npz, tmp_path, validation):
    data = load(npz(), tmp_path, validation=validation)
    assert len(data.validation[1]) == validation
    assert len(data.train[1]) == 100 - validation


@pytest.mark.parametrize("validation", [99, 100, 5000])
def test_validation_that_leaves_no_images_to_train_is_refused(npz, tmp_path, validation):
    with pytest.raises(UserError, match=rf"validation = {validation}: .* 100 images"):
        load(npz(), tmp_path, validation=validation)


def test_npz_of_grey_images_needs_no_channels(npz, tmp_path):
    images = numbered(100)[..., 0], numbered(20)[..., 0]
    data = load(npz(x_train=images[0], x_test=images[1]), tmp_path)
    assert data.inputs.shape == (1, 4, 5)
    assert len(data.mean) == len(data.std) == 1


def test_constant_channel_does_not_divide_by_zero(npz, tmp_path):
    assert min(load(npz(), tmp_path).std) > 0


def test_labels_of_any_integer_type_or_as_a_column_will_do(npz, tmp_path):
    data = load(npz(y_train=(np.arange(100) % 4).astype(np.uint8)[:, None]), tmp_path)
    assert data.train[1].dtype == torch.int64


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(x_train=None), "no array x_train"),
        (dict(y_test=None), "no array y_test"),
        (dict(x_train=np.array([object()] * 100)), "x_train|pickle"),
        (dict(y_train=np.array([{}] * 100)), "y_train|pickle"),
        (dict(x_train=numbered(100) - 0.5), "x_train is float64.*values -0.5 to 98.5"),
        (dict(x_train=numbered(100).astype(np.int64) * 3), "x_train is int64.*values 0 to 297"),
        (dict(x_train=np.full((100, 4, 5, 3), np.nan)), "x_train is float64.*nan"),
        (dict(x_train=numbered(100)[None]), r"x_train is uint8\[1, 100, 4, 5, 3\]"),
        (dict(x_train=numbered(100)[:, 0, :, 0]), r"x_train is uint8\[100, 5\]"),
        (dict(x_train=numbered(100, 2)), "x_train is .*: 2 channels; expected 1 or 3"),
        (dict(x_train=np.zeros((100, 3, 32, 3), np.uint8)), "channels first or last"),
        (dict(x_train=np.zeros((100, 784), np.uint8)), "flat images: reshape them"),
        (dict(x_train=np.array(7, np.uint8)), r"x_train is uint8\[\]"),
        (dict(x_train=numbered(0), y_train=np.zeros(0, int)), "x_train"),
        (dict(x_test=numbered(0), y_test=np.zeros(0, int)), "x_test"),
        (dict(x_train=numbered(100)[:, :0]), "x_train"),
        (dict(y_train=np.arange(100) / 4), "y_train is float64"),
        (dict(y_train=np.zeros(100, int)), "all labels to train with are 0: one class"),
        (dict(y_train=np.ones((100, 4), int)), "y_train is .*: neither one label .* nor one-hot"),
        (dict(y_train=np.array(3)), r"y_train is int64\[\]"),
        (dict(y_train=np.arange(99) % 4), "100 images in x_train, 99 labels"),
        (dict(y_test=np.arange(21) % 4), "20 images in x_test, 21 labels"),
        (dict(y_train=np.arange(100) % 4 - 1), "y_train is .* with labels -1 to 2"),
        (dict(y_train=np.full(100, 10**12)), "y_train is .* with labels"),
        (dict(y_train=np.full(100, 2**63, np.uint64)), "y_train is .* with labels"),
        (dict(y_test=np.arange(20)), "test has label 4, which none to train with has"),
        (dict(x_test=numbered(20)[:, :2]), "x_train has images of 4x5x3, x_test of 2x5x3"),
        (dict(x_test=numbered(20)[..., 0]), "x_train has images of 4x5x3, x_test of 4x5x1"),
    ],
)
def test_npz_that_cannot_be_used_is_one_line_that_says_what(npz, tmp_path, changes, says):
    with pytest.raises(UserError, match=says) as caught:
        load(npz(**changes), tmp_path)
    assert str(tmp_path / "images.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


def huge_header():
    """An array that claims 2**41 images: more than there is memory, not more than can be said."""
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (2199023255552, 4, 5, 3), }"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "content", ["pickle", "npy", "empty", "text", "zip", "cut", "flipped", "huge"]
)
def test_file_that_is_no_npz_is_refused_and_runs_nothing(npz, tmp_path, content):
    name = npz()
    path = tmp_path / "images.npz"
    np.savez_compressed(path, **archive())
    if content == "pickle":
        path.write_bytes(pickle.dumps(Attack(str(tmp_path / "attacked"))))
    elif content == "npy":
        with path.open("wb") as file:
            np.save(file, numbered(3))
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "text":
        path.write_text("x_train")
    elif content == "zip":
        path.write_bytes(b"PK\x03\x04garbage")
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif content == "flipped":
        data = bytearray(path.read_bytes())
        data[60:90] = bytes(30)
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("x_train.npy", huge_header())
            packed.writestr("y_train.npy", huge_header())
            packed.writestr("x_test.npy", huge_header())
            packed.writestr("y_test.npy", huge_header())
    with pytest.raises(UserError) as caught:
        load(name, tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "attacked").exists()


# imagefolder


def save_images(folder, count, size=(6, 5), value=0):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (value, number, 0)).save(folder / f"{number}.png")


def test_imagefolder_takes_classes_from_folders_in_alphabetical_order(tmp_path):
    for part, count in (("train", 10), ("val", 3)):
        save_images(tmp_path / part / "cat", count, value=100)
        save_images(tmp_path / part / "ant", count, value=50)
    data = load(f"imagefolder:{tmp_path}", tmp_path)
    assert data.class_names == ("ant", "cat")
    assert data.inputs.shape == (3, 5, 6)  # height before width
    assert [len(p[1]) for p in (data.train, data.validation, data.test)] == [18, 2, 6]
    for images, labels in (data.train, data.validation, data.test):
        assert torch.equal(images[:, 0, 0, 0], 50 + 50 * labels.to(torch.uint8))


@pytest.mark.parametrize("part", ["", "train"])
def test_imagefolder_without_a_test_part_has_the_same_test_images_for_every_seed(tmp_path, part):
    save_images(tmp_path / "images" / part / "cat", 25, value=100)
    save_images(tmp_path / "images" / part / "ant", 25, value=50)
    one, other = (
        load(f"imagefolder:{tmp_path / 'images'}", tmp_path, split_seed=seed) for seed in (0, 1)
    )
    assert len(one.test[1]) == 5
    assert torch.equal(one.test[0], other.test[0])
    everything = bytes_of(one.train) + bytes_of(one.validation) + bytes_of(one.test)
    assert len(set(everything)) == 50


@pytest.mark.parametrize("part", ["train", "test"])
def test_imagefolder_of_mixed_sizes_is_refused_with_the_file_and_both_sizes(tmp_path, part):
    for name in ("train", "test"):
        save_images(tmp_path / name / "ant", 4)
        save_images(tmp_path / name / "cat", 4)
    odd = tmp_path / part / "cat" / "odd.png"
    Image.new("RGB", (7, 9)).save(odd)
    with pytest.raises(UserError, match=r"odd\.png: 7x9 pixels, others have 6x5"):
        load(f"imagefolder:{tmp_path}", tmp_path)


def test_imagefolder_with_a_broken_image_names_it(tmp_path):
    save_images(tmp_path / "ant", 4)
    save_images(tmp_path / "cat", 4)
    (tmp_path / "cat" / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"broken\.png"):
        load(f"imagefolder:{tmp_path}", tmp_path)


def test_imagefolder_that_tests_a_class_it_does_not_train_is_refused(tmp_path):
    for name in ("ant", "bee", "cat"):
        save_images(tmp_path / "test" / name, 2)
        save_images(tmp_path / "train" / name, 4 if name != "cat" else 0)
    with pytest.raises(UserError, match="class 'cat' has no images"):
        load(f"imagefolder:{tmp_path}", tmp_path)
    (tmp_path / "train" / "cat").rmdir()
    with pytest.raises(UserError, match="class 'cat' is not among those to train with"):
        load(f"imagefolder:{tmp_path}", tmp_path)


def test_imagefolder_without_images_is_refused(tmp_path):
    (tmp_path / "ant").mkdir()
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match=r"class 'ant' has no images \(it is empty\)"):
        load(f"imagefolder:{tmp_path}", tmp_path)


# names


@pytest.mark.parametrize("name", ["cifar", "", "npz", "npz:", "imagefolder:", "zip:a", "CIFAR10"])
def test_unknown_data_set_is_refused_with_the_names_there_are(tmp_path, name):
    with pytest.raises(UserError, match=r"^dataset .* is unknown") as caught:
        load(name, tmp_path)
    assert all(known in str(caught.value) for known in DATASETS)


@pytest.mark.parametrize("kind", ["npz", "imagefolder"])
def test_missing_path_is_the_machine_s_fault_and_named(tmp_path, kind):
    with pytest.raises(MachineError, match=str(tmp_path / "gone")):
        check_dataset(f"{kind}:{tmp_path / 'gone'}")


def test_folder_is_no_npz_and_a_file_is_no_imagefolder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is no file"):
        check_dataset(f"npz:{tmp_path}")
    with pytest.raises(UserError, match="neither a folder nor a zip archive"):
        load(f"imagefolder:{tmp_path / 'file'}", tmp_path)


def test_names_are_checked_without_torch():
    code = (
        "import sys; from pipeline.data import dataset_names as names;"
        "names.check_dataset('cifar10');"
        "sys.exit(any(m in sys.modules for m in ('torch', 'torchvision', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# downloads


DOWNLOADED = [name for name, known in DATASETS.items() if known.is_downloaded]


@pytest.mark.parametrize("name", DOWNLOADED)
def test_data_set_that_is_missing_here_is_the_machines_fault(tmp_path, name):
    with pytest.raises(MachineError, match=f"data set {name} is missing here"):
        load(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", DOWNLOADED)
def test_download_that_fails_is_one_line_and_leaves_nothing_to_load(tmp_path, monkeypatch, name):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there
    # what urlopen uses keeps the proxies of its first call in this process
    monkeypatch.setattr(urllib.request, "_opener", None)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(torchvision_datasets, "DEBIAN_FASHION_MNIST", tmp_path / "none")
    with pytest.raises(UserError, match="refused") as caught:
        load_dataset(DataConfig(dataset=name), tmp_path, download=True)
    assert str(caught.value).startswith(f"dataset {name} cannot be downloaded to {tmp_path}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(MachineError):
        load(name, tmp_path)
    with pytest.raises(UserError, match="refused"):
        fetch_dataset(name, tmp_path / "new home" / "data")
    assert not (tmp_path / "new home").exists()


def idx(array):
    """The format of MNIST's files."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist_files(train=200, test=30):
    """A data set of MNIST's form, whose labels are the first pixel."""
    files = {}
    for part, count in (("train", train), ("t10k", test)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(count) % 10
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx(images[:, 0, 0].copy())
    return files


@pytest.fixture
def debian(tmp_path, monkeypatch):
    """A folder as Debian's package dataset-fashion-mnist makes it."""
    folder = tmp_path / "debian"
    folder.mkdir()
    for name, data in mnist_files().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    monkeypatch.setattr(torchvision_datasets, "DEBIAN_FASHION_MNIST", folder)
    return folder


def test_data_set_that_is_there_is_loaded_and_holds_out_a_tenth(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, data in mnist_files().items():
        (raw / name).write_bytes(data)
    fetch_dataset("mnist", tmp_path)  # there is nothing to download
    data = load("mnist", tmp_path)
    assert data.inputs == DATASETS["mnist"].inputs
    assert [len(p[1]) for p in (data.train, data.validation, data.test)] == [180, 20, 30]
    assert torch.equal(data.train[0][:, 0, 0, 0].long(), data.train[1])


def test_fashion_mnist_comes_from_debians_package_where_it_is_installed(tmp_path, debian):
    fetch_dataset("fashion-mnist", tmp_path / "data")
    assert len(load("fashion-mnist", tmp_path / "data").test[1]) == 30
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    assert sorted(p.name for p in raw.iterdir()) == sorted(mnist_files())
    left = {p.name for p in (tmp_path / "data").iterdir()}
    assert left == {"FashionMNIST", ".fashion-mnist.lock"}


def test_half_a_download_is_missing_and_fetched_again(tmp_path, debian):
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, data in mnist_files().items():
        (raw / name).write_bytes(data[:100])
    leftover = tmp_path / "data" / ".fashion-mnist.partial" / "FashionMNIST" / "raw"
    leftover.mkdir(parents=True)
    (leftover / "train-images-idx3-ubyte").write_bytes(b"half")
    with pytest.raises(MachineError, match="missing here"):
        load("fashion-mnist", tmp_path / "data")
    fetch_dataset("fashion-mnist", tmp_path / "data")
    assert len(load("fashion-mnist", tmp_path / "data").test[1]) == 30


def test_damaged_package_is_one_line_and_nothing_is_moved_into_place(tmp_path, debian):
    packed = debian / "train-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be downloaded") as caught:
        fetch_dataset("fashion-mnist", tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / "FashionMNIST").exists()


@pytest.mark.skipif(
    not torchvision_datasets.DEBIAN_FASHION_MNIST.is_dir(),
    reason="needs Debian's package dataset-fashion-mnist",
)
def test_debians_package_is_the_published_data_set(tmp_path):
    fetch_dataset("fashion-mnist", tmp_path)
    data = load("fashion-mnist", tmp_path)
    assert [len(p[1]) for p in (data.train, data.validation, data.test)] == [54_000, 6_000, 10_000]
    assert data.classes == 10
    assert data.mean == pytest.approx((0.286,), abs=1e-3)


def test_digits_need_no_fetching(tmp_path):
    fetch_dataset("digits", tmp_path / "data")
    assert not (tmp_path / "data").exists()
