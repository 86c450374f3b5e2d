"""Data sets, the training loop, checkpoints and rewards; knows no database and no queue."""
