"""Search for a network for your own images: ``python examples/search_images.py FOLDER``.

The folder has a folder of images for each class. The search can be killed at any moment; the same
line goes on with it.
"""

import argparse
import subprocess
import sys
from pathlib import Path

CONFIGURATION = """
dataset = "imagefolder:{folder}"
image_size = {size}

[controller]
name = "predictor"  # learns fast: for some hundred children

[network]
num_cells = 1
num_filters = {filters}

[training]
epochs = {epochs}

[budget]
children = {children}
"""


def main() -> None:
    """Write a configuration, and search by it; `nasnet run` looks at the images first."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=32, help="pixels a side")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--children", type=int, default=100)
    asked = parser.parse_args()
    keys = {**vars(asked), "folder": asked.folder.resolve().as_posix()}
    file = Path(f"{asked.folder.name}-search.toml")
    file.write_text(CONFIGURATION.format(**keys), "utf-8")
    done = subprocess.run([sys.executable, "-m", "pipeline.cli", "run", str(file)])
    sys.exit(done.returncode)  # where it fails it has said why


if __name__ == "__main__":
    main()
