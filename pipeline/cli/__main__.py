"""``python -m pipeline.cli``: how the supervisor starts workers, whatever is on the PATH."""

from pipeline.cli import main

if __name__ == "__main__":  # not where a loader process imports the main module
    main()
