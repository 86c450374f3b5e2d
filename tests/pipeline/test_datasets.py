import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import DataConfig
from pipeline.errors import MachineError, UserError
from pipeline.training.dataset_names import check_dataset
from pipeline.training.datasets import load_dataset


def load(dataset="digits", folder=None, **config):
    return load_dataset(DataConfig(dataset=dataset, **config), folder)


def rows(part):
    return {bytes(image.numpy().tobytes()) for image in part[0]}


def test_digits_are_split_1297_250_250():
    data = load()
    assert [len(part[1]) for part in (data.train, data.validation, data.test)] == [1297, 250, 250]
    assert (data.classes, data.image_shape) == (10, (1, 8, 8))


def test_the_test_images_are_the_same_for_every_split_seed():
    one, other = load(split_seed=0), load(split_seed=1)
    assert torch.equal(one.test[0], other.test[0])
    assert not torch.equal(one.validation[0], other.validation[0])


def test_no_image_is_in_two_parts():
    data = load()
    seen = [rows(part) for part in (data.train, data.validation, data.test)]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 1797


def test_the_training_images_are_normalised_by_their_own_statistics():
    data = load()
    floats = data.train[0].double() / 255
    assert data.mean[0] == pytest.approx(floats.mean().item())
    assert data.std[0] == pytest.approx(floats.std(correction=0).item())


def test_a_validation_part_as_large_as_all_is_refused():
    with pytest.raises(UserError, match="validation = 1546"):
        load(validation=1546)


def test_a_data_set_that_is_not_on_this_machine_is_the_machine_s_fault(tmp_path):
    with pytest.raises(MachineError, match="cifar10 is missing"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["mnist2", "npz", "npz:", "imagefolder:/nowhere", "npz:/nowhere"])
def test_unknown_data_sets_and_missing_paths_are_named(name):
    with pytest.raises(UserError, match=r"^dataset '"):
        check_dataset(name)


def arrays(**changes):
    base = {
        "x_train": np.zeros((20, 4, 4, 3), np.uint8),
        "y_train": np.arange(20) % 2,
        "x_test": np.zeros((5, 4, 4, 3), np.uint8),
        "y_test": np.zeros(5, np.int64),
    }
    return {k: v for k, v in (base | changes).items() if v is not None}


def test_npz_images_may_be_grey_and_labels_a_column(tmp_path):
    grey = arrays(
        x_train=np.zeros((20, 4, 4), np.uint8),
        x_test=np.zeros((5, 4, 4), np.uint8),
        y_train=(np.arange(20) % 2)[:, None],
    )
    np.savez(tmp_path / "a.npz", **grey)
    data = load(f"npz:{tmp_path / 'a.npz'}")
    assert data.image_shape == (1, 4, 4)
    assert len(data.validation[1]) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y_test": None}, "no array y_test"),
        ({"x_train": np.zeros((20, 4, 4, 3), np.float32)}, "x_train is float32"),
        ({"x_train": np.zeros((20, 4), np.uint8)}, "x_train is uint8"),
        ({"x_train": np.zeros((20, 3, 4, 4), np.uint8)}, "4 channels"),
        ({"x_test": np.zeros((5, 5, 5, 3), np.uint8)}, "x_test of 5x5x3"),
        ({"y_train": np.zeros(20)}, "y_train is float64"),
        ({"y_train": np.zeros((20, 2), int)}, "y_train is int64"),
        ({"y_train": np.zeros(19, int)}, "20 images in x_train, 19 labels"),
        ({"y_train": np.full(20, -1)}, "labels -1 to -1"),
        ({"y_train": np.full(20, 10**12)}, "labels"),
        ({"y_test": np.full(5, 7)}, "y_test has label 7"),
        ({"x_train": np.zeros((0, 4, 4, 3), np.uint8), "y_train": np.zeros(0, int)}, "too little"),
        ({"x_train": np.array([{}], object)}, "cannot be read"),
    ],
)
def test_a_bad_npz_is_refused_and_the_array_named(tmp_path, changes, said):
    np.savez(tmp_path / "a.npz", **arrays(**changes))
    with pytest.raises(UserError, match=r"a\.npz") as error:
        load(f"npz:{tmp_path / 'a.npz'}")
    assert said in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04garbage", b"\x80\x04N."])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz"):
        load(f"npz:{tmp_path / 'a.npz'}")


def save_image(path, size=(6, 4), value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 0)).save(path)


def test_class_folders_become_a_data_set(tmp_path):
    for part, count in (("train", 10), ("val", 3)):
        for name in ("cat", "dog"):
            for i in range(count):
                save_image(tmp_path / part / name / f"{i}.png", value=i)
    data = load(f"imagefolder:{tmp_path}")
    assert (data.classes, data.image_shape) == (2, (3, 4, 6))
    assert [len(p[1]) for p in (data.train, data.validation, data.test)] == [18, 2, 6]


def test_class_folders_without_a_test_part_give_a_tenth(tmp_path):
    for name in ("cat", "dog"):
        for i in range(20):
            save_image(tmp_path / name / f"{i}.png", value=i)
    data = load(f"imagefolder:{tmp_path}")
    assert [len(p[1]) for p in (data.train, data.validation, data.test)] == [33, 3, 4]


def test_images_of_mixed_size_are_refused_and_the_file_named(tmp_path):
    for i in range(3):
        save_image(tmp_path / "cat" / f"{i}.png")
        save_image(tmp_path / "dog" / f"{i}.png", size=(6, 4) if i else (5, 4))
    with pytest.raises(UserError, match=r"dog/0.png: 5x4 pixels, others have 6x4"):
        load(f"imagefolder:{tmp_path}")


def test_a_broken_image_is_refused_and_the_file_named(tmp_path):
    for name in ("cat", "dog"):
        save_image(tmp_path / name / "0.png")
        save_image(tmp_path / name / "1.png")
    (tmp_path / "dog" / "1.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"dog/1.png"):
        load(f"imagefolder:{tmp_path}")
