"""What networks of all spaces share: layers, weights, costs, and the known networks."""
