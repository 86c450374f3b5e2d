"""A run's weights in a file of their own say of its images what the run said."""

from pathlib import Path

import pytest
from PIL import Image

from pipeline.actions.exporting import of_run
from pipeline.data.datasets import load_dataset
from pipeline.exports import load_model, write_network
from pipeline.exports.predicting import predict
from tests.tasks.test_runs import SMALL, ask_one, config, train_one

pytest.importorskip("safetensors", reason="needs the extra `export`")


@pytest.fixture
def store(sqlite_store):
    """Networks and files are looked at here, which no database changes."""


def test_an_exported_run_has_the_accuracy_that_its_row_has(worker, post, tmp_path):
    ended = train_one(ask_one(epochs=4, batch_size=32, crop_padding=0, flip=False))
    exported = of_run(SMALL, ended.id)
    images, labels = load_dataset(config(), Path()).validation
    files = [tmp_path / f"{number:03}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image[0].numpy()).save(file)
    for form, normalize in (("safetensors", False), ("pt2", True)):
        write_network(exported, form, tmp_path / "model", normalize=normalize)
        model = load_model(tmp_path / "model")
        found = [one.classes[0] for one in predict(model, files)]
        right = sum(number == label for number, label in zip(found, labels.tolist(), strict=True))
        assert right / len(files) == pytest.approx(ended.accuracy)
        assert ended.accuracy > 0.3
        assert model.description.class_names == tuple("0123456789")
        assert model.description.dataset == "digits"
