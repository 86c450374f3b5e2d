"""Networks for other programs: weights, ONNX, torch.export; and what such a file predicts.

``description``: what a file says of itself; ``writing``, ``reading``, ``predicting``.
"""

from pipeline.exports.description import DataDescription, Description, describe
from pipeline.exports.reading import Model, load_model
from pipeline.exports.writing import (
    FORMATS,
    GRAPHS,
    Exported,
    ExportError,
    Format,
    write_genotype,
    write_network,
)

__all__ = [
    "FORMATS",
    "GRAPHS",
    "DataDescription",
    "Description",
    "ExportError",
    "Exported",
    "Format",
    "Model",
    "describe",
    "load_model",
    "write_genotype",
    "write_network",
]
