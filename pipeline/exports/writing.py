"""Networks written for other programs; each file is checked by reading it again."""

import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.errors import NasnetError, UserError
from pipeline.exports.description import DataDescription, Input, as_metadata
from pipeline.exports.reading import METADATA_FILE, load_model
from pipeline.io.reading import check_target
from pipeline.networks.inputs import Inputs
from pipeline.spaces.base import Genotype
from pipeline.spaces.registry import AnyNetworkConfig

Format = Literal["json", "safetensors", "onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("json", "safetensors", "onnx", "pt2")
GRAPHS = ("onnx", "pt2")  # that have a graph, into which the normalisation can be put
TOLERANCE = 1e-4  # relative and absolute, of a file's outputs
CHECKED = 3  # images that a file is checked with


@dataclass(frozen=True, slots=True)
class Exported:
    """A network and what it is."""

    genotype: Genotype
    config: AnyNetworkConfig | None
    network: nn.Module
    inputs: Inputs
    weights: str = "random"  # or whose they are, for people
    data: DataDescription | None = None  # None: nobody trained it

    def metadata(self, form: Input = "normalized") -> dict[str, str]:
        """What goes into a file beside the weights."""
        return {
            "genotype": self.genotype.to_json(),
            "network": "" if self.config is None else self.config.model_dump_json(),
            "weights": self.weights,
            **as_metadata(self.inputs, self.data, form),
        }


class ExportError(NasnetError):
    """A file that was written does not say what the network says: a fault of ours."""


def write_genotype(genotype: Genotype, path: Path) -> None:
    """Write the architecture alone."""
    _write_whole(path, lambda file: file.write_text(genotype.to_json() + "\n"))


def write_network(
    exported: Exported, form: Format, path: Path, *, normalize: bool = False
) -> None:
    """Write a network; nothing is there unless the file says what the network says.

    Args:
        normalize: whether the graph takes pixels, uint8, and normalises them itself.

    Raises:
        UserError: the extra `export` is missing here, or there is no graph or nothing known of
            the data to normalise by.
        ExportError: outputs differ by more than a tolerance.
    """
    network = exported.network.eval()
    pixels = torch.randint(
        256,
        (CHECKED, *exported.inputs.shape),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    images = pixels.float() / 255
    if normalize:
        network, images = _normalizing(exported, form).eval(), pixels
    with torch.no_grad():
        expected = network(images)
    metadata = exported.metadata("uint8" if normalize else "normalized")

    def write_and_check(file: Path) -> None:
        _WRITERS[form](network, images[:2], metadata, file)
        found = load_model(file).run(images)
        if not torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
            difference = (found - expected).abs().max().item()
            raise ExportError(f"{form}: outputs differ by {difference:g} from the network's")

    try:
        _write_whole(path, write_and_check)
    except ImportError as error:
        raise UserError(f"--format {form} needs the extra `export`: {error}") from None


class _Normalizing(nn.Module):
    """A network for pixels 0 to 255, normalised as ``pipeline.training.evaluation`` does it."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, data: DataDescription) -> None:
        super().__init__()
        self.network = network
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (data.mean, data.std))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> logits."""
        logits: Tensor = self.network(images.float() * self.scale + self.shift)
        return logits


def _normalizing(exported: Exported, form: Format) -> nn.Module:
    assert form in GRAPHS
    if exported.data is None:
        raise UserError("--normalize: nobody trained this network, so there is no mean to go by")
    return _Normalizing(exported.network, exported.data)


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Under another name until it is whole."""
    check_target(path)
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


def _write_safetensors(
    network: nn.Module, _images: Tensor, metadata: Mapping[str, str], path: Path
) -> None:
    from safetensors.torch import save  # an extra

    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    path.write_bytes(save(state, dict(metadata)))


def _write_onnx(
    network: nn.Module, images: Tensor, metadata: Mapping[str, str], path: Path
) -> None:
    program = torch.onnx.export(
        network,
        (images,),
        dynamo=True,
        dynamic_shapes=_any_batch(),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)


def _write_pt2(
    network: nn.Module, images: Tensor, metadata: Mapping[str, str], path: Path
) -> None:
    program = torch.export.export(network, (images,), dynamic_shapes=_any_batch(), strict=False)
    file = io.BytesIO()  # torch's own writer ends the process where a disk is full
    torch.export.save(program, file, extra_files={METADATA_FILE: json.dumps(metadata)})
    path.write_bytes(file.getbuffer())


_WRITERS = {"safetensors": _write_safetensors, "onnx": _write_onnx, "pt2": _write_pt2}
