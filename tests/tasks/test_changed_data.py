"""Images that change or go away under a search: the machine's fault, never trained on, said."""

import shutil

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from db.lifecycle import datasets, searches
from db.schema.models import Child, Run, Search
from db.schema.session import transaction
from pipeline.actions.data import check_data, check_unchanged
from pipeline.config.search import load_config, make_config
from pipeline.config.tables import merge
from pipeline.errors import UserError
from pipeline.settings import get_settings
from tasks import steering
from tasks.app import ring
from tasks.recorder import Recorder
from tests.factories import CHILDREN


@pytest.fixture(autouse=True)
def _no_loaders(worker, monkeypatch):
    """Images are decoded by this process: others take seconds to start."""
    monkeypatch.setenv("NASNET_LOADERS", "0")
    get_settings.cache_clear()


def draw(path, seed, size=(9, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    for number in range(40):
        draw(tmp_path / "images" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    return tmp_path / "images"


def create(folder, **tables):
    """A search as `nasnet search create` makes it."""
    base = {
        **CHILDREN,
        "controller": {"name": "random", "batch": 4},
        "training": {"epochs": 1, "batch_size": 16, "device": "cpu"},
        "mode": "synchronous",
        "dataset": f"imagefolder:{folder}",
    }
    checked = check_data(make_config(merge(base, tables)))
    with transaction() as connection:
        checked.note(connection)
        return searches.create(connection, "s", checked.config.model_dump(mode="json"))


@pytest.fixture
def rests(worker, monkeypatch):
    """Why the slot rested, and what its checks say; after a rest nothing more is taken here."""
    said = []

    def rest(_slot, reason, check):
        said.append((reason, check))

    monkeypatch.setattr(worker.__class__, "rest", rest)
    return said


def states(search_id):
    with transaction(read_only=True) as connection:
        of_runs = select(Run.state, Run.attempt).where(Run.search_id == search_id)
        return [(str(row.state), row.attempt) for row in connection.execute(of_runs)]


def rewarded(search_id):
    with transaction(read_only=True) as connection:
        return len(
            connection.scalars(
                select(Child.id).where(Child.search_id == search_id, Child.reward.is_not(None))
            ).all()
        )


def begin(search_id, post):
    ring(search_id)
    post.drain()


def add_class(folder):
    draw(folder / "aardvark" / "0.png", 99)


def change_size_of_one(folder):
    draw(folder / "cat" / "0.png", 99, size=(30, 30))


def remove_one(folder):
    (folder / "cat" / "0.png").unlink()


def rename_one(folder):
    (folder / "cat" / "0.png").rename(folder / "cat" / "zero.png")


def move_one_to_another_class(folder):
    (folder / "cat" / "0.png").rename(folder / "dog" / "0.png")


CHANGES = {
    add_class: "class 'aardvark' is new",
    change_size_of_one: "train has other images of 'cat'",
    remove_one: "train has 19 images of 'cat', had 20",
    rename_one: "train has other images of 'cat'",
    move_one_to_another_class: "train has 19 images of 'cat', had 20",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("image_size", [None, 16])
def test_a_search_trains_on_no_images_but_those_that_it_was_made_with(
    folder, post, rests, change, image_size
):
    extra = {} if image_size is None else {"image_size": image_size}
    search_id = create(folder, **extra)
    change(folder)
    begin(search_id, post)
    assert rewarded(search_id) == 0
    assert {state for state, _ in states(search_id)} <= {"pending", "queued"}
    reason, check = rests[0]
    assert CHANGES[change] in reason
    assert f"dataset imagefolder:{folder}: the images are not those" in reason
    assert "nasnet search accept-data s`" in reason
    assert check() == reason


def test_an_archive_of_arrays_is_compared_by_what_it_holds(tmp_path, post, rests):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    labels = np.arange(60) % 2
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    search_id = create("x", dataset=f"npz:{tmp_path / 'a.npz'}")
    np.savez_compressed(tmp_path / "a.npz", y=labels, x=images)  # the same, packed otherwise
    with transaction(read_only=True) as connection:
        check_unchanged(load_config(searches.by_id(connection, search_id).config))
    np.savez(tmp_path / "a.npz", x=images[::-1], y=labels)
    begin(search_id, post)
    assert "train has other images of '0'" in rests[0][0]
    swapped = [1, 0, *range(2, 60)]
    np.savez(tmp_path / "a.npz", x=images[swapped], y=labels[swapped])
    assert "in another order" in rests[0][1]()


@pytest.mark.parametrize("image_size", [None, 16])
def test_a_folder_that_moves_away_is_waited_for_and_costs_no_child(
    folder, post, rests, image_size, tmp_path
):
    search_id = create(folder, **({} if image_size is None else {"image_size": image_size}))
    folder.rename(tmp_path / "away")
    begin(search_id, post)
    reason, check = rests[0]
    assert f"there is no folder {folder}" in reason
    assert check() == reason
    (tmp_path / "away").rename(folder)
    assert check() is None
    ring_again(search_id, post)
    assert rewarded(search_id) == 8


def ring_again(search_id, post):
    from db.lifecycle import queue
    from tasks.app import send_runs

    with transaction() as connection:
        queued = queue.queue_for_idle(connection)
    send_runs(queued)
    begin(search_id, post)


def test_a_folder_that_moves_away_while_a_child_trains_costs_it_nothing(
    folder, post, rests, tmp_path, monkeypatch
):
    """Files are decoded while they are needed: the first batch is there, the second is not."""
    search_id = create(folder, image_size=16)
    on_step = Recorder.on_step

    def move(recorder, images):
        on_step(recorder, images)
        if folder.exists():
            folder.rename(tmp_path / "away")

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_step", move)
        begin(search_id, post)
    assert rewarded(search_id) == 0
    assert "No such file or directory" in rests[0][0]
    assert {state for state, _ in states(search_id)} <= {"pending", "queued"}
    shutil.copytree(tmp_path / "away", folder)
    draw(folder / "dog" / "1.png", 7, size=(40, 40))  # and comes back with another image
    assert "train has other images of 'dog'" in rests[0][1]()
    shutil.copy(tmp_path / "away" / "dog" / "1.png", folder / "dog" / "1.png")
    assert rests[0][1]() is None
    ring_again(search_id, post)
    assert rewarded(search_id) == 8


def now_of(folder):
    checked = check_data(make_config({"dataset": f"imagefolder:{folder}"}))
    return checked.report.fingerprint, checked.summary


def empty(folder):
    """As an unmounted mount point is."""
    shutil.rmtree(folder)
    folder.mkdir()


def half_copied(folder):
    shutil.rmtree(folder / "dog")
    (folder / "dog").mkdir()


@pytest.mark.parametrize("change", [empty, half_copied])
def test_a_folder_that_cannot_be_read_any_more_is_the_machine_s_fault(
    folder, post, rests, change, tmp_path
):
    search_id = create(folder)
    shutil.copytree(folder, tmp_path / "whole")
    change(folder)
    begin(search_id, post)
    assert "is not what it was" in rests[0][0]
    assert {state for state, _ in states(search_id)} <= {"pending", "queued"}
    shutil.rmtree(folder)
    (tmp_path / "whole").rename(folder)
    assert rests[0][1]() is None


def test_an_archive_that_is_half_copied_is_the_machine_s_fault(tmp_path, post, rests):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x=images, y=np.arange(60) % 2)
    search_id = create("x", dataset=f"npz:{tmp_path / 'a.npz'}")
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:5000])
    begin(search_id, post)
    assert "is not what it was" in rests[0][0]
    (tmp_path / "a.npz").write_bytes(whole)
    assert rests[0][1]() is None


def test_images_that_changed_on_purpose_are_accepted_and_searched_on(folder, post, rests):
    search_id = create(folder)
    remove_one(folder)
    begin(search_id, post)
    assert len(rests) > 0
    fingerprint, summary = now_of(folder)
    assert "as they are now" in steering.accept_data("s", fingerprint, summary)
    with transaction(read_only=True) as connection:
        runs = connection.scalars(select(Run.config).where(Run.search_id == search_id)).all()
        assert {run["fingerprint"] for run in runs} == {fingerprint}
        assert datasets.summary(connection, fingerprint)["classes"] == ["cat", "dog"]
    assert rests[0][1]() is None
    ring_again(search_id, post)
    assert rewarded(search_id) == 8
    assert "those that it was made with" in steering.accept_data("s", fingerprint, summary)


def enlarge_all(folder):
    for path in folder.rglob("*.png"):
        draw(path, 1, size=(20, 20))


def make_parts(folder):
    for name in ("cat", "dog"):
        (folder / "train").mkdir(exist_ok=True)
        shutil.copytree(folder / name, folder / "val" / name)
        (folder / name).rename(folder / "train" / name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (add_class, "other classes: class 'aardvark' is new"),
        (enlarge_all, "other smallest and largest: "),
        (make_parts, "other parts: .*the part test is new"),
    ],
)
def test_other_classes_sizes_and_parts_are_never_accepted(folder, change, says):
    create(folder)
    change(folder)
    with pytest.raises(UserError, match=says):
        steering.accept_data("s", *now_of(folder))


def test_a_run_on_changed_data_is_refused(folder):
    search_id = create(folder)
    add_class(folder)
    with transaction(read_only=True) as connection:
        config = load_config(searches.by_id(connection, search_id).config)
    with pytest.raises(UserError, match="class 'aardvark' is new"):
        check_unchanged(config)


def test_nothing_is_accepted_while_a_slot_trains(folder, post, monkeypatch):
    search_id = create(folder)
    refused = []
    on_step = Recorder.on_step

    def accept(recorder, images):
        on_step(recorder, images)
        if not refused:
            rename_one(folder)
            with pytest.raises(UserError, match="nasnet search pause s") as caught:
                steering.accept_data("s", *now_of(folder))
            refused.append(caught.value)
            (folder / "cat" / "zero.png").rename(folder / "cat" / "0.png")

    monkeypatch.setattr(Recorder, "on_step", accept)
    begin(search_id, post)
    assert refused
    assert rewarded(search_id) == 8


def test_children_that_cannot_read_the_data_pause_the_search_after_three(folder, post, rests):
    search_id = create(folder, image_size=16, budget={"children": 100})
    for path in folder.rglob("*.png"):  # as large as it was, and no image any more
        path.write_bytes(b"x" * path.stat().st_size)
    begin(search_id, post)
    with transaction(read_only=True) as connection:
        search = connection.execute(select(Search)).one()
        failed = connection.scalars(select(Child.failure)).all()
    assert str(search.state) == "paused"
    assert "the last 3 children could not read the data" in search.reason
    assert ".png: not an image that can be read" in search.reason
    assert "ChildError" not in search.reason
    assert sum(failure is not None for failure in failed) <= 2 * 4
    _, check = rests[0]  # a known child meets the same files
    assert ".png: not an image that can be read" in check()


def test_damaged_files_are_named_before_anything_is_created(folder):
    (folder / "cat" / "0.png").write_bytes(b"broken")
    (folder / "dog" / "1.png").write_bytes(b"broken")
    for extra in ({}, {"image_size": 16}):
        with pytest.raises(UserError, match=r"\.png: not an image .* \(2 of 40 files cannot"):
            create(folder, **extra)
    with transaction(read_only=True) as connection:
        assert connection.execute(select(Search)).all() == []


def test_a_path_is_stored_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    search_id = create(folder.name)
    with transaction(read_only=True) as connection:
        config = searches.by_id(connection, search_id).config
    assert config["dataset"] == f"imagefolder:{folder}"
    assert config["split"] == "stratified"
