"""Archives of arrays: whatever people call them and however they store them, or a line."""

import re
import zipfile

import numpy as np
import pytest
import torch

from pipeline.config.run import DataConfig
from pipeline.data.datasets import load_dataset
from pipeline.data.image_arrays import read_npz
from pipeline.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 6, 5, 3), np.uint8)
LABELS = np.arange(60) % 3
TEST = np.random.default_rng(1).integers(0, 256, (12, 6, 5, 3), np.uint8)


@pytest.fixture
def write(tmp_path):
    def save(**arrays):
        path = tmp_path / "images.npz"
        np.savez(path, **arrays)
        return path

    return save


def four(images=IMAGES, labels=LABELS, test=TEST, test_labels=LABELS[:12]):
    return dict(x_train=images, y_train=labels, x_test=test, y_test=test_labels)


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train_data", "train_targets", "test_data", "test_targets"),
    ],
)
def test_arrays_are_found_by_the_names_that_people_use(write, names):
    found = read_npz(write(**dict(zip(names, four().values(), strict=True))))
    assert np.array_equal(found.parts["train"][0], IMAGES)
    assert np.array_equal(found.parts["test"][1], LABELS[:12])


@pytest.mark.parametrize(
    "names", [("images", "labels"), ("x", "y"), ("X", "y"), ("data", "targets")]
)
def test_without_a_test_part_a_tenth_of_each_class_is_for_testing(write, tmp_path, names):
    path = write(**dict(zip(names, (IMAGES, LABELS), strict=True)))
    data = load_dataset(DataConfig(dataset=f"npz:{path}"), tmp_path)
    assert [len(part[1]) for part in (data.train, data.validation, data.test)] == [49, 5, 6]
    assert data.test[1].bincount().tolist() == [2, 2, 2]


def test_a_part_to_validate_with_is_used_as_it_is(write, tmp_path):
    path = write(
        **dict(
            train_images=IMAGES, train_labels=LABELS, test_images=TEST, test_labels=LABELS[:12]
        ),
        **dict(val_images=TEST[:6], val_labels=LABELS[:6]),
    )
    data = load_dataset(DataConfig(dataset=f"npz:{path}"), tmp_path)
    assert [len(part[1]) for part in (data.train, data.validation, data.test)] == [60, 6, 12]
    with pytest.raises(UserError, match=r"validation = 5: .* images of its own to validate with"):
        load_dataset(DataConfig(dataset=f"npz:{path}", validation=5), tmp_path)


@pytest.mark.parametrize(
    ("stored", "remark"),
    [
        (IMAGES.astype(np.int64), None),
        (IMAGES.astype(np.float32), None),
        (IMAGES / 255, "read as 0 to 1"),
        ((IMAGES / 255).astype(np.float16), "read as 0 to 1"),
        (IMAGES.transpose(0, 3, 1, 2), r"read as \(N, C, H, W\)"),
        (IMAGES.transpose(0, 3, 1, 2) / 255, r"read as \(N, C, H, W\)"),
    ],
)
def test_images_are_the_same_however_they_were_stored(write, stored, remark):
    found = read_npz(write(**four(images=stored)))
    assert np.abs(found.parts["train"][0].astype(int) - IMAGES).max() <= 0
    assert (remark is None) == (found.remarks == ())
    if remark is not None:
        assert any(re.search(remark, said) for said in found.remarks)


def test_bits_are_black_and_white(write):
    bits = IMAGES[..., :1] > 127
    found = read_npz(write(**four(images=bits, test=TEST[..., :1])))
    assert set(np.unique(found.parts["train"][0])) == {0, 255}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS + 1, ("1", "2", "3")),  # 1 to 3 are three classes, not four
        (LABELS * 10, ("0", "10", "20")),
        (np.array(["cat", "ant", "bee"])[LABELS], ("ant", "bee", "cat")),
        (np.array([b"cat", b"ant", b"bee"])[LABELS], ("ant", "bee", "cat")),
        (np.eye(3)[LABELS], ("0", "1", "2")),
        (LABELS.astype(np.float64), ("0", "1", "2")),
        (LABELS[:, None].astype(np.uint8), ("0", "1", "2")),
        (LABELS > 0, ("0", "1")),
    ],
)
def test_labels_are_numbered_from_0_and_keep_their_names(write, labels, names):
    found = read_npz(write(**four(labels=labels, test_labels=labels[:12])))
    assert found.class_names == names
    numbers = found.parts["train"][1]
    assert sorted(set(numbers.tolist())) == list(range(len(names)))
    first = {label: numbers[np.flatnonzero(label == LABELS)[0]] for label in range(3)}
    assert [first[label] for label in LABELS] == numbers.tolist()


def test_a_list_of_names_names_the_classes(write):
    found = read_npz(write(**four(), label_names=np.array(["cat", "ant", "bee"])))
    assert found.class_names == ("cat", "ant", "bee")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (dict(X_train=IMAGES), "has x_train and X_train, which may mean the same"),
        (dict(images=IMAGES), "has x_train and images, which may mean the same"),
        (dict(label_names=np.array([{}])), "label_names holds Python objects"),
    ],
)
def test_arrays_that_may_mean_the_same_are_refused(write, more, says):
    with pytest.raises(UserError, match=says):
        read_npz(write(**four(), **more))


def test_all_parts_have_one_scale(write):
    black_and_white = (TEST > 127).astype(np.float32)
    found = read_npz(write(**four(images=IMAGES.astype(np.float32), test=black_and_white)))
    assert found.parts["test"][0].max() == 1
    found = read_npz(write(**four(images=IMAGES / 255, test=black_and_white)))
    assert found.parts["test"][0].max() == 255


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        ([b"cat", b"ant", b"bee"], LABELS, ("cat", "ant", "bee")),
        (["cat", "ant", "bee"], LABELS + 1, ("cat", "ant", "bee")),
        (["cat", "ant"], LABELS, ("0", "1", "2")),
        (["cat", "cat", "bee"], LABELS, ("0", "1", "2")),
    ],
)
def test_names_of_classes_that_do_not_fit_are_said_and_not_used(write, names, labels, expected):
    found = read_npz(write(**four(labels=labels, test_labels=labels[:12]), names=np.array(names)))
    assert found.class_names == expected
    assert any("do not fit" in remark for remark in found.remarks) == (expected[0] == "0")


def test_bytes_that_are_no_utf_8_stay_different_labels(write):
    labels = np.array([b"a\xff", b"a\xfe", b"c"])[LABELS]
    found = read_npz(write(**four(labels=labels, test_labels=labels[:12])))
    assert len(found.class_names) == 3


def test_one_array_is_no_archive(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(
        UserError, match=r"a\.npy: cannot be read: no archive as np\.savez writes it"
    ):
        read_npz(tmp_path / "a.npy")


def test_a_stored_search_keeps_the_classes_that_it_has(write):
    found = read_npz(write(**four(labels=LABELS + 1, test_labels=LABELS[:12] + 1)), as_before=True)
    assert found.class_names == ("0", "1", "2", "3")
    assert np.array_equal(found.parts["train"][1], LABELS + 1)


def test_hdf5_files_have_the_same_names(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    path = tmp_path / "images.h5"
    with h5py.File(path, "w") as file:
        for name, array in four(labels=np.array(["cat", "ant", "bee"], object)[LABELS]).items():
            if name != "y_test":
                file[name] = array
        file["y_test"] = np.array(["cat", "ant", "bee"], object)[LABELS[:12]]
    data = load_dataset(DataConfig(dataset=f"hdf5:{path}"), tmp_path)
    assert data.class_names == ("ant", "bee", "cat")
    assert torch.equal(data.test[0], torch.from_numpy(TEST.transpose(0, 3, 1, 2)))


def write_headers(path, shapes):
    """An archive whose arrays say how large they are, and hold nothing."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in shapes.items():
            with archive.open(f"{name}.npy", "w") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"x": (10**6, 99, 99), "y": (20,)}, "1000000 images in x, 20 labels in y"),
        ({"x": (10**9, 999, 999), "y": (10**9,)}, "its arrays take 998,002,000,000,000 bytes"),
    ],
)
def test_arrays_are_refused_by_their_headers_before_they_are_unpacked(tmp_path, shapes, says):
    write_headers(tmp_path / "a.npz", shapes)
    with pytest.raises(UserError, match=says):
        read_npz(tmp_path / "a.npz")
