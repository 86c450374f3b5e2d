"""An exported file as something that can be asked; read with suspicion.

Which format it has is told by its first bytes. Every problem is one line that names the file.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from pipeline.errors import NasnetError, UserError
from pipeline.exports.description import Description, read_metadata
from pipeline.genotypes.genotype_files import MOST_HEADER, safetensors_metadata
from pipeline.io.json_text import read_json
from pipeline.io.reading import blaming
from pipeline.networks.inputs import Inputs
from pipeline.spaces.building import build
from pipeline.spaces.registry import AnyNetworkConfig, genotype_from_data

METADATA_FILE = "metadata.json"  # in a pt2 archive, among its extra files
LARGEST_FILE = 2**32  # bytes; ONNX itself ends at half of it
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Model:
    """A network that was read from a file."""

    path: Path
    description: Description
    _run: Run

    def run(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), as ``description.input`` says, to logits (N, classes).

        Raises:
            UserError: the file's graph cannot be run, or its answers are no numbers.
        """
        with torch.inference_mode(), _blaming_the_file(self.path):
            logits = self._run(images).float()
        if logits.shape != (len(images), self.description.classes):
            raise UserError(f"{self.path}: its output is {list(logits.shape)}, not classes")
        if not logits.isfinite().all():
            raise UserError(f"{self.path}: its outputs are not finite: its weights are damaged")
        return logits


def load_model(path: Path) -> Model:
    """The network of an ONNX, pt2 or safetensors file, on the CPU.

    A pt2 file is code: torch warns of those whose maker one does not trust.

    Raises:
        UserError: the file is none of these, is damaged, or is none of ours.
        ImportError: the extra `export` is missing here.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; `nasnet genotype export` writes one")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise UserError(f"{path}: {size / 1e9:.0f} GB: that is no network of ours")
    with path.open("rb") as file:
        start = file.read(9)
    with _blaming_the_file(path):
        return _reader_of(start)(path)


def _reader_of(start: bytes) -> Callable[[Path], Model]:
    if start.startswith(b"PK"):
        return _read_pt2
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= MOST_HEADER:
        return _read_safetensors
    if start.lstrip().startswith(b"{"):
        raise UserError("a genotype has no weights: export it with --format onnx")
    return _read_onnx


@contextlib.contextmanager
def _blaming_the_file(path: Path) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one line."""
    try:
        with blaming(path, "not a network that can be read"):
            yield
    except NasnetError as error:
        said = str(error)
        raise UserError(said if said.startswith(str(path)) else f"{path}: {said}") from None


def _read_safetensors(path: Path) -> Model:
    """The network is built from what the file says of it, and takes the file's weights."""
    from safetensors import safe_open  # an extra
    from safetensors.torch import load_file

    metadata = safetensors_metadata(path)  # strictly: of a key twice it takes one
    with safe_open(path, "pt") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    description = read_metadata(path, metadata)
    network = _described_network(metadata, description)
    expected = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    if shapes != expected:
        differing = sorted(
            key for key in shapes.keys() | expected if shapes.get(key) != expected.get(key)
        )
        raise UserError(f"its weights are another network's: {differing[0]}")
    network.load_state_dict(load_file(path), assign=True)
    return Model(path, description, network.eval())


def _described_network(metadata: Mapping[str, str], description: Description) -> nn.Module:
    """Without memory for its weights, whatever their number: the file's have it already."""
    if "genotype" not in metadata:
        raise UserError("no genotype among its metadata: not a file of ours")
    genotype = genotype_from_data(read_json(metadata["genotype"]))
    text = metadata.get("network")
    try:
        config = TypeAdapter(AnyNetworkConfig).validate_json(text) if text else None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"][1:]))
        raise UserError(f"its metadata: network: {where or text!r:.60} cannot be used") from None
    with torch.device("meta"):
        return build(genotype, config, Inputs(description.image_shape, description.classes))


def _read_onnx(path: Path) -> Model:
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it says otherwise, it raises as well
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(f"its graph has {len(inputs)} inputs and {len(outputs)} outputs, not one")
    graph = _graph(inputs[0].shape, inputs[0].type[7:-1], outputs[0].shape)
    description = read_metadata(path, session.get_modelmeta().custom_metadata_map, graph)
    name = inputs[0].name

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: images.numpy()})[0])

    return Model(path, description, run)


def _read_pt2(path: Path) -> Model:
    extra: dict[str, Any] = {METADATA_FILE: ""}
    with path.open("rb") as file, _quiet("torch.export"):
        program = torch.export.load(file, extra_files=extra)
    metadata = read_json(extra[METADATA_FILE] or "{}")
    if not isinstance(metadata, dict):
        raise UserError(f"its {METADATA_FILE} is no object")
    nodes = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    inputs, outputs = program.graph_signature.user_inputs, program.graph_signature.user_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(f"its graph has {len(inputs)} inputs and {len(outputs)} outputs, not one")
    images, logits = nodes[str(inputs[0])], nodes[str(outputs[0])]
    graph = _graph(list(images.shape), str(images.dtype).removeprefix("torch."), logits.shape)
    return Model(path, read_metadata(path, metadata, graph), program.module())


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """A library logs the traceback of what it raises as well."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _graph(images: Any, dtype: str, logits: Any) -> dict[str, Any]:
    """What a graph takes and gives, as keys of a ``Description``.

    Raises:
        UserError: it takes something else than batches of images.
    """
    forms = {"float": "normalized", "float32": "normalized", "uint8": "uint8"}
    sizes = [*images[1:], *logits[1:]]
    whole = all(isinstance(size, int) for size in sizes)
    if len(images) != 4 or len(logits) != 2 or dtype not in forms or not whole:
        raise UserError(
            f"its graph takes {dtype}{list(images)} and gives {list(logits)}; expected images "
            "(N, channels, height, width) and classes (N, classes)"
        )
    if isinstance(images[0], int):
        raise UserError(f"its graph takes {images[0]} images at once, no other number")
    return {"image_shape": tuple(images[1:]), "classes": logits[1], "input": forms[dtype]}
