"""The training loop, what it trains, checkpoints and rewards; knows no database and no queue."""
