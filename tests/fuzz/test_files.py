"""Files of others may hold any bytes: what reads them ends in a line, or well."""

import io
import json
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.config.search import make_config
from pipeline.config.tables import merge, parse_assignments, read_toml
from pipeline.data.decoding import read_image
from pipeline.data.image_arrays import read_npz
from pipeline.data.image_trees import read_tree
from pipeline.errors import MachineError, UserError
from pipeline.exports import load_model
from pipeline.genotypes.genotype_files import read_genotype
from pipeline.search_files.importing import read_header
from pipeline.spaces.cells.published import NASNET_A


def toml():
    return b'preset = "digits"\nseed = 3\n\n[budget]\nchildren = 40\nhours = 0.5\n'


def genotype():
    return NASNET_A.to_json().encode()


def tensors():
    metadata = {"genotype": NASNET_A.to_json(), "classes": "10"}
    return safetensors.numpy.save({"a": np.zeros(2, np.float32)}, metadata)


def arrays():
    written = io.BytesIO()
    labels = np.arange(6) % 2
    np.savez(written, x_train=np.zeros((6, 4, 4, 1), np.uint8), y_train=labels)
    return written.getvalue()


def image(form):
    written = io.BytesIO()
    Image.linear_gradient("L").resize((8, 8)).convert("RGB").save(written, form)
    return written.getvalue()


def archive():
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("train/a/1.png", "train/b/2.png"):
            file.writestr(name, image("png"))
    return written.getvalue()


def header():
    return json.dumps({"record": "search", "format": 1, "search": {"config": {}}}).encode()


def read_config(path):
    make_config(merge({}, read_toml(path)))


def read_archive(path):
    for file in read_tree(path).all_images():
        read_image(file)


# What is read, an honest file of it, and its ending.
READERS = {
    "toml": (read_config, toml, "toml"),
    "json": (read_genotype, genotype, "json"),
    "header": (read_header, header, "jsonl"),
    "safetensors": (read_genotype, tensors, "safetensors"),
    "model": (load_model, tensors, "safetensors"),
    "npz": (read_npz, arrays, "npz"),
    "zip": (read_archive, archive, "zip"),
    "png": (read_image, lambda: image("png"), "png"),
    "jpeg": (read_image, lambda: image("jpeg"), "jpeg"),
    "gif": (read_image, lambda: image("gif"), "gif"),
    "tiff": (read_image, lambda: image("tiff"), "tiff"),
    "bmp": (read_image, lambda: image("bmp"), "bmp"),
}
PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"9" * 5000, b"[" * 5000, b'{"a":' * 5000, b"-1", b"1e999", b"NaN", b"null",
            b'"\\ud800"',
            b'"kind":"cell","kind":"cell",', b"\xff", b"\0" * 8, b"\xff" * 8, b"{}", b"[[a]]\n",
            b"'descr': '|O', ", b"(2147483647, 2147483647)", b"(-1,)", b"__import__('os')",
        ]
    ),
)  # fmt: skip


@st.composite
def damaged(draw, data):
    """A file with some bytes in place of others, left out, or put between."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 4, 30, len(data)])))
        data = data[:start] + draw(PIECES) + data[end:]
    return data


@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_a_line(tmp_path, kind, data):
    read, honest, ending = READERS[kind]
    path = tmp_path / f"file.{ending}"
    path.write_bytes(data.draw(damaged(honest())))
    try:
        read(path)
    except (UserError, MachineError) as error:
        said = str(error)
    else:
        said = "read"
    assert len(said.splitlines()) == 1


@given(text=st.text(max_size=30) | PIECES.map(lambda data: data.decode(errors="surrogateescape")))
def test_a_value_that_is_set_is_read_or_refused_in_a_line(text):
    try:
        make_config(merge({}, parse_assignments([f"seed={text}", f"dataset={text}"])))
    except UserError as error:
        said = str(error)
    else:
        said = "read"
    assert len(said.splitlines()) == 1
