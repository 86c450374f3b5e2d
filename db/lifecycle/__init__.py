"""How rows change: each module moves one kind from state to state."""
