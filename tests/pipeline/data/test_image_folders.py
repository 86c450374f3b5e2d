"""Layouts of image folders and archives: one place reads them, and guesses nothing."""

import os
import zipfile

import pytest
from PIL import Image

from pipeline.data.image_folders import list_images
from pipeline.errors import MachineError, UserError


def fill(folder, count=3, ending=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (6, 5), (number, 0, 0)).save(folder / f"{number}{ending}")


def tree(root, *folders, count=3):
    for folder in folders:
        fill(root / folder, count)
    return root


def counts(root, **options):
    found = list_images(root, **options)
    return found.class_names, {
        part: [len(c) for c in lists] for part, lists in found.parts.items()
    }


@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training"])
@pytest.mark.parametrize("test", ["test", "Test", "val", "Valid", "Validation", "testing"])
def test_parts_are_found_whatever_their_case(tmp_path, train, test):
    tree(tmp_path, f"{train}/cat", f"{train}/dog", f"{test}/cat", f"{test}/dog")
    assert counts(tmp_path) == (("cat", "dog"), {"train": [3, 3], "test": [3, 3]})


def test_three_parts_are_three_parts_and_were_two_in_format_1(tmp_path):
    for part, count in (("train", 5), ("val", 2), ("test", 1)):
        tree(tmp_path, f"{part}/cat", f"{part}/dog", count=count)
    _, parts = counts(tmp_path)
    assert parts == {"train": [5, 5], "validation": [2, 2], "test": [1, 1]}
    _, before = counts(tmp_path, as_before=True)
    assert before == {"train": [5, 5], "test": [1, 1]}


def test_classes_may_be_called_train_or_test(tmp_path):
    tree(tmp_path, "bus", "train", "Test")
    assert counts(tmp_path)[0] == ("Test", "bus", "train")


def test_a_class_holds_the_images_of_folders_in_it_whatever_their_ending_s_case(tmp_path):
    tree(tmp_path, "cat/one", "cat/two/three", "dog")
    fill(tmp_path / "dog", 2, ".JPG")
    assert counts(tmp_path)[1] == {"train": [6, 5]}


LEFT = (
    (".ipynb_checkpoints/0.png", "hidden or left behind by a program"),
    ("cat/.ipynb_checkpoints/0-checkpoint.png", "hidden or left behind by a program"),
    ("cat/._0.png", "hidden or left behind by a program"),
    ("__MACOSX/cat/0.png", "hidden or left behind by a program"),
    ("cat/Thumbs.db", "hidden or left behind by a program"),
    ("cat/notes.txt", "ending in .txt"),
    ("cat/photo.HEIC", "ending in .heic"),
    ("README", "without an ending"),
    ("cat/nothing.png", "empty"),
    ("stray.png", "in no class folder"),
)


@pytest.mark.parametrize(("name", "reason"), LEFT)
@pytest.mark.parametrize("packed", [False, True])
def test_what_no_person_made_is_left_out_and_counted_by_its_reason(tmp_path, name, reason, packed):
    root = tree(tmp_path / "images", "cat", "dog")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    if name == "stray.png":
        fill(root, 1)
    else:
        (root / name).write_bytes(b"" if reason == "empty" else b"not an image")
    root = pack(root) if packed else root
    found = list_images(root)
    assert found.class_names == ("cat", "dog")
    assert [len(images) for images in found.parts["train"]] == [3, 3]
    assert found.left_out == {reason: 1}


def pack(folder):
    archive = folder.parent / "images.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder))
    return archive


def test_names_of_one_class_may_be_encoded_in_two_ways(tmp_path):
    tree(tmp_path, "train/caf\u00e9", "train/tea", "test/cafe\u0301", "test/tea")
    assert counts(tmp_path)[1] == {"train": [3, 3], "test": [3, 3]}


@pytest.mark.parametrize("folders", [("images", "masks"), ("fold1", "fold2"), ("fold1",)])
def test_classes_that_all_hold_the_same_folders_are_suspicious(tmp_path, folders):
    tree(tmp_path, *(f"{folder}/{name}" for folder in (*folders, "x") for name in ("a", "b")))
    assert "every class holds the folders a, b" in list_images(tmp_path).remarks[0]


def rewrite(archive, change):
    """An archive whose entries' names and attributes are changed."""
    with zipfile.ZipFile(archive) as old:
        entries = [(info, old.read(info)) for info in old.infolist() if not info.is_dir()]
    with zipfile.ZipFile(archive, "w") as new:
        for info, data in entries:
            change(info)
            new.writestr(info, data)
    return archive


def prefix(before):
    def change(info):
        info.filename = before + info.filename

    return change


def backslashes(info):
    info.filename = info.filename.replace("/", "\\")


@pytest.mark.parametrize("change", [prefix("./"), prefix("pets/"), prefix("a/b/"), backslashes])
def test_archives_are_read_as_other_programs_write_them(tmp_path, change):
    archive = rewrite(pack(tree(tmp_path / "images", "cat", "dog")), change)
    found = list_images(archive)
    assert found.class_names == ("cat", "dog")
    assert all(image.read() for images in found.parts["train"] for image in images)


def test_links_and_ways_up_in_an_archive_are_left_out(tmp_path):
    def change(info):
        if info.filename == "cat/0.png":
            info.external_attr = 0o120777 << 16
        if info.filename == "cat/1.png":
            info.filename = "../cat/1.png"

    found = list_images(rewrite(pack(tree(tmp_path / "images", "cat", "dog")), change))
    assert found.left_out == {
        "links in an archive": 1,
        "hidden or left behind by a program": 1,
    }


def test_two_files_of_one_name_in_an_archive_are_refused(tmp_path):
    archive = pack(tree(tmp_path / "images", "cat", "dog"))
    with zipfile.ZipFile(archive, "a") as packed, pytest.warns(UserWarning, match="Duplicate"):
        packed.writestr("cat/0.png", b"another")
    with pytest.raises(UserError, match=r"two files of the name 'cat/0\.png'"):
        list_images(archive)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str
)
def test_members_damaged_under_any_compression_are_refused_by_name(tmp_path, method):
    root = tree(tmp_path / "images", "cat", "dog")
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w", method) as packed:
        for path in sorted(root.rglob("*.png")):
            packed.write(path, path.relative_to(root))
    [first, *_] = list_images(archive).parts["train"][0]
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as packed:
        at = packed.getinfo(first.name).header_offset + 30 + len(first.name) + 4
    data[at : at + 12] = b"\xff" * 12
    archive.write_bytes(data)
    with pytest.raises(UserError, match=r"cat/0\.png: cannot be unpacked"):
        first.read()


def test_an_archive_has_the_images_of_its_folder_in_the_same_order(tmp_path):
    root = tree(tmp_path / "images", "train/cat", "train/dog", "val/cat", "val/dog")
    folder, archive = list_images(root), list_images(pack(root))
    for part, classes in folder.parts.items():
        for ours, theirs in zip(classes, archive.parts[part], strict=True):
            assert [i.name for i in ours] == [i.name for i in theirs]
            assert [i.read() for i in ours] == [i.read() for i in theirs]


def test_links_are_followed_and_no_folder_is_read_twice(tmp_path):
    root = tree(tmp_path / "images", "cat", "dog")
    fill(tmp_path / "elsewhere", 4)
    (root / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "bird").symlink_to(tmp_path / "elsewhere")
    (root / "dog" / "linked.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    (root / "dog" / "again").symlink_to(root)
    (root / "dog" / "nowhere.png").symlink_to(tmp_path / "gone.png")
    found = list_images(root)
    assert found.class_names == ("bird", "cat", "dog")
    assert [len(images) for images in found.parts["train"]] == [4, 3, 4]
    assert found.left_out == {
        "links to a folder that is read anyway": 2,
        "links that cannot be followed: No such file or directory": 1,
    }


def test_links_between_all_classes_are_not_followed(tmp_path):
    names = [f"class{number}" for number in range(12)]
    tree(tmp_path, *names)
    for name in names:
        for other in names:
            (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
    found = list_images(tmp_path)
    assert [len(images) for images in found.parts["train"]] == [3] * 12
    assert found.left_out == {"links to a folder that is read anyway": 144}


def test_a_pipe_is_left_out_and_not_waited_for(tmp_path):
    tree(tmp_path, "cat", "dog")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    assert list_images(tmp_path).left_out == {"no regular file": 1}


def test_folders_deeper_than_any_person_makes_are_left_out(tmp_path):
    tree(tmp_path, "cat", "dog")
    fill(tmp_path / "cat" / "/".join("x" * 80), 1)
    [(reason, count)] = list_images(tmp_path).left_out.items()
    assert (reason, count) == ("deeper than 64 folders", 1)


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (["cat"], "two or more classes, found 1"),
        (["wrap/cat", "wrap/dog"], "did you mean .*/wrap?"),
        (["Train", "Test"], "Test and Train hold images and no class folders"),
        (["test/cat", "test/dog"], "has test, and no part train"),
        (["train/cat", "train/dog", "cat"], "has the parts train and images in 'cat' beside"),
        (["train/cat", "train/dog", "test"], "has the parts train and images in 'test' beside"),
        (["train/cat", "train/dog", "Training/cat"], "two of them are the same part"),
        (["train/cat", "train/dog", "test/cow"], "class 'cow' is not among those to train with"),
        (["cat", "Cat"], "names that differ in their case"),
        (["caf\u00e9", "cafe\u0301"], "names that differ in their case"),
        (["a", "a "], "names that differ in their case"),
        (["training_set/cat", "test_set/cat"], "look like parts"),
        (["seg_train/x/cat", "seg_test/x/cat"], "look like parts"),
        (["train_images", "val_images"], "look like parts"),
        ([], "two or more classes, found 0"),
    ],
)
def test_a_layout_that_could_be_read_in_two_ways_is_refused(tmp_path, folders, says):
    tree(tmp_path / "images", *folders)
    (tmp_path / "images").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=says) as caught:
        list_images(tmp_path / "images")
    assert str(tmp_path / "images") in str(caught.value)


@pytest.mark.parametrize("part", ["", "train"])
def test_a_class_without_images_is_refused_with_what_it_has(tmp_path, part):
    tree(tmp_path / part, "cat", "dog", "cow")
    (tmp_path / part / "empty").mkdir()
    with pytest.raises(UserError, match=r"class 'empty' has no images \(it is empty\)"):
        list_images(tmp_path)
    (tmp_path / part / "empty" / "a.heic").write_bytes(b"1")
    with pytest.raises(UserError, match=r"class 'empty' has no images \(1 ending in \.heic\)"):
        list_images(tmp_path)


def test_a_folder_that_is_gone_or_cannot_be_read_is_the_machine_s_fault(tmp_path):
    with pytest.raises(MachineError, match="gone: No such file"):
        list_images(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(MachineError, match="circle: "):
        list_images(tmp_path / "circle")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 100])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip: neither a folder nor a zip archive"):
        list_images(tmp_path / "a.zip")


def test_a_damaged_member_of_an_archive_is_refused_by_name(tmp_path):
    archive = pack(tree(tmp_path / "images", "cat", "dog"))
    data = bytearray(archive.read_bytes())
    data[60:70] = bytes(10)
    archive.write_bytes(data)
    [first, *_] = list_images(archive).parts["train"][0]
    with pytest.raises(UserError, match=r"cat/0\.png: cannot be unpacked"):
        first.read()


def test_names_that_are_not_utf_8_can_be_said(tmp_path):
    tree(tmp_path, "cat", "dog")
    os.rename(tmp_path / "cat" / "0.png", os.fsencode(tmp_path) + b"/cat/\xff.png")
    [odd] = [i for i in list_images(tmp_path).parts["train"][0] if "udcff" in str(i)]
    assert odd.read()
    str(odd).encode()
    os.rename(tmp_path / "dog", os.fsencode(tmp_path) + b"/d\xffg")
    with pytest.raises(UserError, match="is not UTF-8"):
        list_images(tmp_path)
