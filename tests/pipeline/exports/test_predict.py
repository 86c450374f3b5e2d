"""An exported file is enough: it predicts what the network did that it was made of."""

import functools
import json
import re
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import cli
from pipeline.config.run import DataConfig, make_network_config
from pipeline.config.training import TrainingConfig
from pipeline.data.datasets import load_dataset
from pipeline.errors import UserError
from pipeline.exports import Exported, describe, load_model, write_network, writing
from pipeline.exports.predicting import list_images, predict
from pipeline.exports.reading import METADATA_FILE
from pipeline.networks.inputs import Inputs
from pipeline.spaces.building import build
from pipeline.spaces.known.genotype import KnownNetwork
from pipeline.spaces.macro.genotype import MacroGenotype, MacroLayer
from pipeline.training.feeding import make_feed
from pipeline.training.image_problem import ImageProblem
from pipeline.training.trainer import train

pytest.importorskip("onnxruntime", reason="needs the extra `export`")
pytest.importorskip("safetensors", reason="needs the extra `export`")
CPU = torch.device("cpu")
GENOTYPE = MacroGenotype((MacroLayer("conv_3x3"), MacroLayer("max_pool_3x3", (1,))))
NETWORK = make_network_config(GENOTYPE.kind, {"filters": 4})
FORMS = [("onnx", False), ("onnx", True), ("pt2", False), ("pt2", True), ("safetensors", False)]
DOCUMENT = Path(__file__).parents[3] / "docs" / "how-to" / "deploy.md"


class Unheard:
    """Hooks that do nothing."""

    def on_step(self, images): ...
    def on_scored(self): ...
    def on_epoch(self, result): ...
    def on_checkpoint(self, state, epoch, step): ...


@dataclass
class Trained:
    """A network, what it saw, and what it said of its validation images at its end."""

    exported: Exported
    files: list[Path]
    labels: list[int]
    logits: torch.Tensor
    accuracy: float
    folder: Path  # for its files

    def file(self, form, normalize=False):
        """An export of it, made once."""
        path = self.folder / f"{normalize}.{form}"
        if not path.exists():
            write_network(self.exported, form, path, normalize=normalize)
        return path


def _train(config, tmp_path, files_of):
    data = load_dataset(config, tmp_path)
    training = TrainingConfig(epochs=3, batch_size=16, learning_rate=0.05)
    result = train(
        _build(data),
        ImageProblem(data),
        training,
        seed=1,
        device=CPU,
        resume=None,
        hooks=Unheard(),
    )
    network = _build(data)  # as an export does it, from the weights that a run kept
    network.load_state_dict(result.weights)
    feed = make_feed(data, training, seed=1, device=CPU)
    with torch.inference_mode():
        logits = torch.cat([network.eval()(images) for images, _ in feed.validation(0)])
    described = describe(config, data)
    return Trained(
        Exported(GENOTYPE, NETWORK, network, data.inputs, data=described),
        files_of(data),
        data.validation[1].tolist(),
        logits,
        result.accuracies[-1],
        tmp_path,
    )


def _build(data):
    torch.manual_seed(0)
    return build(GENOTYPE, NETWORK, data.inputs)


def _draw(folder, sizes, count):
    """Two classes that differ by brightness, hard enough that some are mistaken."""
    generator = np.random.default_rng(0)
    for part, images in (("train", count), ("val", 4)):
        for label, name in enumerate(("dark", "light")):
            (folder / part / name).mkdir(parents=True)
            for number in range(images):
                height, width = sizes(generator)
                noise = generator.integers(0, 200, (height, width, 3))
                level = generator.integers(0, 40) + 15 * label
                pixels = (noise + level).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


def _of_all_sizes(folder):
    _draw(folder / "flowers", lambda generator: generator.integers(9, 40, 2), 40)
    config = DataConfig(dataset=f"imagefolder:{folder / 'flowers'}", image_size=16, validation=30)
    return _train(config, folder, _paths)


def _paths(data):
    return [file.root / file.name for file in data.validation[0]]


def _of_one_size(folder):
    _draw(folder / "flowers", lambda _: (12, 10), 40)
    config = DataConfig(dataset=f"imagefolder:{folder / 'flowers'}", validation=30)
    return _train(config, folder, lambda data: _saved(data, folder))


def _grey(folder):
    return _train(DataConfig(), folder, lambda data: _saved(data, folder))


def _saved(data, folder):
    files = []
    for number, image in enumerate(data.validation[0].numpy()):
        files.append(folder / f"{number:04}.png")
        Image.fromarray(image.transpose(1, 2, 0).squeeze()).save(files[-1])
    return files


SOURCES = {"all sizes": _of_all_sizes, "one size": _of_one_size, "grey": _grey}


@pytest.fixture(scope="module")
def train_once(tmp_path_factory):
    """A function that gives a small network that was trained on images of a kind."""
    return functools.cache(lambda kind: SOURCES[kind](tmp_path_factory.mktemp("trained")))


@pytest.fixture(scope="module")
def flowers(train_once):
    """One that was trained on a folder of images of all sizes."""
    return train_once("all sizes")


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(("form", "normalize"), FORMS)
def test_a_file_predicts_of_validation_images_what_the_run_did(train_once, kind, form, normalize):
    trained = train_once(kind)
    model = load_model(trained.file(form, normalize))
    classes = model.description.classes
    found = list(predict(model, trained.files, top=classes))
    assert [one.path for one in found] == trained.files
    assert not any(one.resized_from for one in found)
    predicted = [one.classes[0] for one in found]
    assert predicted == trained.logits.argmax(1).tolist()
    right = sum(p == label for p, label in zip(predicted, trained.labels, strict=True))
    assert right / len(found) == pytest.approx(trained.accuracy)
    assert 0.05 < trained.accuracy < 1  # else anything would be right
    probabilities = torch.zeros(len(found), classes)
    for row, one in zip(probabilities, found, strict=True):
        row[list(one.classes)] = torch.tensor(one.probabilities)
    torch.testing.assert_close(probabilities, trained.logits.softmax(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("form", "normalize"), FORMS)
def test_a_file_says_what_it_was_trained_on(flowers, form, normalize):
    path = flowers.file(form, normalize)
    described = load_model(path).description
    assert described.class_names == ("dark", "light")
    assert described.mean == described.std == (0.5, 0.5, 0.5)
    assert described.image_shape == (3, 16, 16)
    assert described.resize_to == 18
    assert described.input == ("uint8" if normalize else "normalized")
    assert described.dataset == "imagefolder:flowers"  # and not where it lies
    metadata = _metadata(form, path)
    assert json.loads(metadata["genotype"]) == GENOTYPE.to_data()
    assert json.loads(metadata["network"])["filters"] == 4
    assert str(flowers.files[0].parent) not in repr(metadata)


def _metadata(form, path):
    if form == "onnx":
        import onnx

        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    if form == "pt2":
        extra = {METADATA_FILE: ""}
        with path.open("rb") as file:
            torch.export.load(file, extra_files=extra)
        return json.loads(extra[METADATA_FILE])
    import safetensors

    with safetensors.safe_open(path, "pt") as file:
        return file.metadata()


@pytest.fixture
def nasnet(monkeypatch, capsys, tmp_path):
    """A function that runs the command in this process: exit code, output, complaints."""
    monkeypatch.setenv("NASNET_HOME", str(tmp_path / "home"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nasnet", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not (tmp_path / "home").exists()  # nothing is written
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_the_command_names_the_classes_and_their_probabilities(nasnet, flowers):
    model = flowers.file("safetensors")
    folder = flowers.files[0].parents[2] / "val"
    (folder / ".hidden").mkdir(exist_ok=True)
    (folder / ".hidden" / "x.png").write_bytes(b"of a tool")
    code, table, complaints = nasnet("predict", model, folder)
    assert (code, complaints) == (0, "")
    assert len(table.splitlines()) == 9
    assert re.search(r"val/dark/0\.png +(dark|light) +0\.\d{4}", table)
    code, text, _ = nasnet(
        *("predict", model, flowers.files[0], folder),
        *("--top", 5, "--json"),
    )
    rows = json.loads(text)
    assert code == 0
    assert [row["image"] for row in rows] == [
        str(file) for file in (flowers.files[0], *list_images([folder]))
    ]
    for row in rows:
        first, second = row["classes"]  # there are no more than two
        assert {first["class"], second["class"]} == {"dark", "light"}
        assert first["probability"] + second["probability"] == pytest.approx(1)
        assert first["probability"] >= second["probability"]


def test_an_image_of_another_size_than_all_that_were_trained_on_is_resized_and_that_is_said(
    nasnet, tmp_path
):
    exported = _random(shape=(1, 8, 8), classes=3)
    write_network(exported, "safetensors", tmp_path / "model")
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels.repeat(2, 0).repeat(3, 1)).save(tmp_path / "b.png")
    code, text, complaints = nasnet(
        "predict", tmp_path / "model", tmp_path / "a.png", tmp_path / "b.png", "--json"
    )
    assert code == 0
    assert "1 of 2 images were resized: the network was trained on images of 8x8" in complaints
    sizes = [row["resized_from"] for row in json.loads(text)]
    assert sizes == [None, {"width": 24, "height": 16}]


def _random(*, shape=(3, 8, 8), classes=2):
    torch.manual_seed(0)
    inputs = Inputs(shape, classes)
    return Exported(GENOTYPE, NETWORK, build(GENOTYPE, NETWORK, inputs), inputs)


def _write(form, path, metadata, exported=None):
    """A file as its maker liked it."""
    if form == "onnx":
        return _write_onnx(path, metadata)
    exported = exported or _random()
    images = torch.rand(2, *exported.inputs.shape)
    writing._WRITERS[form](exported.network.eval(), images, metadata, path)
    return path


def _write_onnx(path, metadata):
    import onnx

    model = onnx.load_from_string(_onnx())
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


@functools.cache
def _onnx():
    """The bytes of a file without metadata; to make one takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        writing._WRITERS["onnx"](_random().network.eval(), torch.rand(2, 3, 8, 8), {}, path)
        return path.read_bytes()


OLD = ("genotype", "network", "image_shape", "classes")  # of safetensors alone


@pytest.mark.parametrize("form", ["onnx", "pt2", "safetensors"])
def test_a_file_of_the_release_before_predicts_numbers_and_says_so(nasnet, tmp_path, form):
    exported = _random()
    known = exported.metadata() if form == "safetensors" else {}
    _write(form, tmp_path / "old", {k: v for k, v in known.items() if k in OLD}, exported)
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "a.png")
    code, text, complaints = nasnet("predict", tmp_path / "old", tmp_path / "a.png", "--json")
    assert code == 0
    [row] = json.loads(text)
    assert row["classes"][0]["class"] in {"0", "1"}
    assert "no names of classes: they are numbers" in complaints
    assert "no mean and deviation" in complaints


def test_a_network_of_torchvision_is_rebuilt_from_what_its_file_says(tmp_path):
    genotype = KnownNetwork("resnet18")
    torch.manual_seed(0)
    inputs = Inputs((1, 16, 16), 3)
    network = build(genotype, None, inputs)
    exported = Exported(genotype, None, network, inputs)
    write_network(exported, "safetensors", tmp_path / "model")
    images = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        expected = network.eval()(images)
    torch.testing.assert_close(load_model(tmp_path / "model").run(images), expected)


def _made(name):
    """Files that are no networks of ours, by what is wrong with them."""
    contents = {
        "empty": b"",
        "noise": bytes(range(256)) * 40,
        "text": b"the quick brown fox " * 100,
        "genotype": GENOTYPE.to_json().encode(),
        "header without end": (2**40).to_bytes(8, "little") + b'{"a"',
        "header of nothing": (2).to_bytes(8, "little") + b"{}",
        "zip of nothing": b"PK\x05\x06" + bytes(18),
    }

    def make(path):
        path.write_bytes(contents[name])

    return make


def _image(path):
    Image.new("RGB", (8, 8)).save(path, "png")


def _pickle(path):
    torch.save(_random().network.state_dict(), path)


def _arrays(path):
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(3))


def _archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive_format", "pt2")


def _folder(path):
    path.mkdir()


def _huge(path):
    with path.open("wb") as file:
        file.write((100).to_bytes(8, "little") + b"{")
        file.truncate(10**12)  # of which nothing lies on the disk


def _cut(form):
    def make(path):
        whole = _write(form, path, _random().metadata()).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])

    return make


def _saying(form, **values):
    def make(path):
        metadata = {**_random().metadata(), **values}
        _write(form, path, {k: v for k, v in metadata.items() if v is not None})

    return make


def _damaged(path):
    exported = _random()
    next(exported.network.parameters()).data.fill_(float("nan"))
    _write("safetensors", path, exported.metadata(), exported)


def _of_one_image(path):
    program = torch.export.export(_random().network.eval(), (torch.rand(1, 3, 8, 8),))
    with path.open("wb") as file:
        torch.export.save(program, file)


def _of_vectors(path):
    program = torch.export.export(
        torch.nn.Linear(5, 2), (torch.rand(2, 5),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    with path.open("wb") as file:
        torch.export.save(program, file)


LARGE = make_network_config("cell", {"num_cells": 100, "num_filters": 4096}).model_dump_json()
HOSTILE = {
    **{
        name: (_made(name), says)
        for name, says in {
            "empty": "cannot|can be read",
            "noise": "can be read",
            "text": "can be read",
            "genotype": "a genotype has no weights",
            "header without end": "can be read",
            "header of nothing": "no image_shape",
            "zip of nothing": "can be read",
        }.items()
    },
    "picture": (_image, "can be read"),
    "pickle": (_pickle, "can be read"),
    "arrays": (_arrays, "can be read"),
    "archive": (_archive, "can be read"),
    "folder": (_folder, "no such file"),
    "nothing": (lambda path: None, "no such file"),
    "huge": (_huge, "1000 GB"),
    **{f"cut {form}": (_cut(form), "can be read") for form in writing._WRITERS},
    **{
        f"names in {form}": (_saying(form, class_names="{"), "class_names")
        for form in writing._WRITERS
    },
    "names of another number": (_saying("safetensors", class_names='["a"]'), "class_names: 1"),
    "names that are none": (_saying("safetensors", class_names="[1, 2]"), "class_names"),
    "names too deep": (_saying("safetensors", class_names="[" * 99_999), "class_names"),
    "mean alone": (_saying("safetensors", mean="[0, 0, 0]"), "mean and std"),
    "mean of text": (_saying("onnx", mean='"0.5"', std="[1, 1, 1]"), "mean"),
    "no deviation": (_saying("pt2", mean="[0, 0, 0]", std="[0, 0, 0]"), "std"),
    "not a number": (_saying("onnx", mean="[0, 0, NaN]", std="[1, 1, 1]"), "mean"),
    "vast images": (_saying("safetensors", image_shape="[3, 1000000, 1000000]"), "image_shape"),
    "no shape": (_saying("safetensors", image_shape=None), "no image_shape"),
    "four channels": (_saying("safetensors", image_shape="[4, 8, 8]"), "image_shape"),
    "other images": (_saying("onnx", image_shape="[3, 9, 9]"), "its graph has"),
    "other classes": (_saying("pt2", classes="7"), "its graph has"),
    "other input": (_saying("onnx", input="uint8"), "its graph has"),
    "an input of its own": (_saying("safetensors", input="0..1"), "input"),
    "resized to nothing": (_saying("safetensors", resize_to="1"), "resize_to"),
    "resized to much": (_saying("safetensors", resize_to="1000000000"), "resize_to"),
    "no genotype": (_saying("safetensors", genotype=None), "no genotype"),
    "a genotype of text": (_saying("safetensors", genotype="[1"), "can be read"),
    "a genotype of nothing": (_saying("safetensors", genotype="{}"), "cell"),
    "another genotype": (
        _saying("safetensors", genotype=MacroGenotype((MacroLayer("conv_3x3"),) * 2).to_json()),
        "layer|another network",
    ),
    "another skeleton": (_saying("safetensors", network=LARGE), "network.skeleton"),
    "no skeleton": (_saying("safetensors", network="{}"), "network"),
    "a skeleton of text": (_saying("safetensors", network="{"), "network"),
    "other filters": (
        _saying("safetensors", network='{"skeleton": "enas-macro", "filters": 512}'),
        "another network's",
    ),
    "damaged weights": (_damaged, "not finite"),
    "one image at once": (_of_one_image, "1 images at once"),
    "no images": (_of_vectors, "expected images"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_model_that_cannot_be_used_is_refused_in_one_line(nasnet, tmp_path, name):
    make, says = HOSTILE[name]
    make(tmp_path / "model")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    code, text, complaints = nasnet("predict", tmp_path / "model", tmp_path / "a.png")
    assert (code, text) == (2, "")
    *notices, line = complaints.splitlines()
    assert all("it has no" in notice for notice in notices)
    assert line.startswith(f"nasnet: {tmp_path / 'model'}: ")
    assert re.search(says, line), line
    assert len(line) < 400


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (["nowhere.png"], "no such file or folder"),
        (["broken.png"], "broken.png"),
        (["bare"], "no images in it"),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_in_one_line(nasnet, tmp_path, images, says):
    write_network(_random(), "safetensors", tmp_path / "model")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:45])
    (tmp_path / "bare").mkdir()
    code, text, complaints = nasnet(
        "predict", tmp_path / "model", *(tmp_path / name for name in images)
    )
    assert (code, text) == (2, "")
    assert says in complaints.splitlines()[-1]


def test_images_that_cannot_be_read_are_named_and_the_others_are_printed(nasnet, tmp_path):
    _saying("safetensors")(tmp_path / "model")
    for name in ("a.png", "c.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes()[:45])
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png", "d.png")]
    code, text, complaints = nasnet("predict", tmp_path / "model", *files, "--json")
    assert code == 2
    assert [Path(row["image"]).name for row in json.loads(text)] == ["a.png", "c.png"]
    named = [line for line in complaints.splitlines() if "not an image" in line]
    assert [re.search(r"(.)\.png", line)[1] for line in named] == ["b", "d"]
    code, table, _ = nasnet("predict", tmp_path / "model", *files)
    assert (code, len(table.splitlines())) == (2, 3)


def test_names_of_classes_and_files_reach_no_terminal_as_commands(nasnet, tmp_path):
    names = json.dumps(["a\x1b[31m\n", "[bold]b"])
    _saying("safetensors", class_names=names)(tmp_path / "model")
    Image.new("RGB", (8, 8)).save(tmp_path / "\x1b[2J.png")
    code, text, _ = nasnet("predict", tmp_path / "model", tmp_path / "\x1b[2J.png", "--top", 2)
    assert code == 0
    assert "\x1b" not in text
    assert "a\\x1b[31m\\n" in text
    assert "[bold]b" in text


def test_normalisation_needs_a_graph_and_something_to_go_by(nasnet, tmp_path):
    for form in ("json", "safetensors"):
        code, _, complaints = nasnet(
            *("genotype", "export", "nasnet-a", "--format", form, "--normalize"),
        )
        assert code == 2
        assert f"--format {form} has no graph" in complaints
    with pytest.raises(UserError, match="nobody trained"):
        write_network(_random(), "onnx", tmp_path / "model.onnx", normalize=True)
    assert list(tmp_path.iterdir()) == []


def test_what_the_documentation_shows_can_be_run(flowers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for form in writing._WRITERS:
        (tmp_path / f"flowers.{form}").symlink_to(flowers.file(form, form == "onnx"))
    (tmp_path / "rose.jpg").symlink_to(flowers.files[0])
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        names = {}
        exec(compile(block, str(DOCUMENT), "exec"), names)
        expected = flowers.logits[0].softmax(0)
        assert names["name"] == ("dark", "light")[expected.argmax()]
        assert names["probability"] == pytest.approx(expected.max().item(), abs=1e-3)
