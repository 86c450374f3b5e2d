"""Export a search's best network, and use it on images.

``python examples/export_and_predict.py SEARCH IMAGES``

IMAGES is an image file or a folder of them. The exported file is enough to use the network: it
needs no store. With ``--format onnx`` in place of safetensors it does not even need this package.
"""

import subprocess
import sys
from pathlib import Path

from pipeline.exports import load_model
from pipeline.exports.predicting import list_images, predict


def main(search: str, images: Path) -> None:
    """Write a file with the network, and print the likeliest class of each image."""
    file = Path(f"{search}.safetensors")
    export = ["genotype", "export", f"{search}:1", "--format", "safetensors", "--out", str(file)]
    subprocess.run([sys.executable, "-m", "pipeline.cli", *export], check=True)
    model = load_model(file)
    for found in predict(model, list_images([images])):
        name = model.description.name_of(found.classes[0])
        print(f"{found.path}: {name} ({found.probabilities[0]:.3f})")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
