"""``python -m pipeline.cli``: how the supervisor starts workers, whatever is on the PATH."""

from pipeline.cli import main

main()
