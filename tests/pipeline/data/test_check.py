"""A data set is looked at before anything is trained on it: what it is, what is suspicious."""

import json

import numpy as np
import pytest
from PIL import Image

from pipeline.config.run import DataConfig
from pipeline.data.check import check_source
from pipeline.data.sources import read_source
from pipeline.errors import UserError


def draw(path, seed, size=(8, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    for number in range(240):
        draw(tmp_path / "images" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    return tmp_path / "images"


def check(dataset, folder, **options):
    limit = options.pop("limit", None)
    config = DataConfig(dataset=dataset, **options)
    source = read_source(config, folder, decode=False)
    return check_source(source, config, limit=limit)


def npz(folder, images, labels, **more):
    np.savez(folder / "a.npz", x=images, y=labels, **more)
    return f"npz:{folder / 'a.npz'}"


def test_a_sound_folder_is_counted_and_nothing_is_suspicious(folder):
    report = check(f"imagefolder:{folder}", folder)
    counts = [(c.name, c.train, c.validation, c.test) for c in report.classes]
    assert counts == [("cat", 97, 11, 12), ("dog", 98, 10, 12)]
    assert (report.smallest, report.largest, report.channels) == ((8, 9), (8, 9), 3)
    assert (report.split, report.suggested_image_size) == ("stratified", None)
    assert report.suspicious == report.unreadable == report.remarks == ()
    assert report.line() == (
        "data: 240 images of 8x9x3, 2 classes of 120; 195 to train, 21 to validate, 24 to test"
    )


def test_the_report_s_json_says_all_of_it(folder):
    report = check(f"imagefolder:{folder}", folder)
    data = json.loads(json.dumps(report.to_data()))
    assert data["classes"][0] == {"name": "cat", "train": 97, "validation": 11, "test": 12}
    assert set(data) == set(report.__dataclass_fields__)


def test_several_sizes_suggest_one_and_must_have_one(folder):
    for number in range(60):
        draw(folder / "cat" / f"large{number}.png", number, size=(50, 70))
    report = check(f"imagefolder:{folder}", folder)
    assert (report.smallest, report.largest) == ((8, 9), (50, 70))
    assert report.suggested_image_size == 8
    assert "must be set" in "\n".join(report.rows())
    assert check(f"imagefolder:{folder}", folder, image_size=32).image_size == 32


def test_files_left_out_are_counted_by_reason(folder):
    (folder / "cat" / "notes.txt").write_text("x")
    (folder / "dog" / ".DS_Store").write_text("x")
    report = check(f"imagefolder:{folder}", folder)
    assert report.left_out == {
        "ending in .txt": 1,
        "hidden or left behind by a program": 1,
    }
    assert "left out: 1 ending in .txt" in report.line()


def test_damaged_files_are_all_named(folder):
    for number in (0, 2, 4):
        (folder / "cat" / f"{number}.png").write_bytes(b"broken")
    report = check(f"imagefolder:{folder}", folder)
    assert len(report.unreadable) == 3
    assert all("not an image that can be read" in problem for problem in report.unreadable)


@pytest.mark.parametrize(("limit", "looked_at"), [(None, 240), (1000, 240), (40, 41)])
def test_no_more_files_are_decoded_than_the_limit_of_each_part(folder, limit, looked_at):
    seen = []
    config = DataConfig(dataset=f"imagefolder:{folder}", image_size=8)
    source = read_source(config, folder)
    report = check_source(
        source, config, limit=limit, on_file=lambda at, total: seen.append((at, total))
    )
    assert abs(report.looked_at - looked_at) <= 2
    assert [at for at, _ in sorted(seen)] == list(range(1, report.looked_at + 1))


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), np.uint8)


SUSPICIOUS = {
    "few": (noise(64), [0] * 60 + [1] * 4, "fewer than 10 images to train '1'"),
    "one": (noise(62), [0] * 60 + [1] * 2, "validation has no image of '1'"),
    "uneven": (noise(420), [0] * 400 + [1] * 20, "400 images of '0', 20 of '1'"),
    "constant": (noise(60) * 0 + 7, [0, 1] * 30, "all images have one colour"),
    "dark": (noise(60) // 32, [0, 1] * 30, "no pixel is brighter than 7 of 255"),
    "twice": (np.tile(noise(30), (2, 1, 1, 1)), [0, 1] * 30, "are trained on, too"),
    "gaps": (noise(60), [1, 2] * 30, "numbered anew from 0"),
}


@pytest.mark.parametrize("case", SUSPICIOUS)
def test_what_is_suspicious_is_said(tmp_path, case):
    images, labels, says = SUSPICIOUS[case]
    report = check(npz(tmp_path, images, np.array(labels)), tmp_path)
    assert says in report.line()
    assert says in "\n".join(report.rows())


def test_a_class_with_nothing_left_to_train_with_is_refused(tmp_path):
    for number, name in enumerate("abcde"):
        draw(tmp_path / "images" / name / "0.png", number)
    with pytest.raises(UserError, match=r"too few images: none of 'a'.* is left to train with"):
        check(f"imagefolder:{tmp_path / 'images'}", tmp_path)


def test_one_class_is_refused(tmp_path):
    with pytest.raises(UserError, match="one class"):
        check(npz(tmp_path, noise(60), np.zeros(60, int)), tmp_path)
