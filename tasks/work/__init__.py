"""What runs are for, a module for each kind of work; ``tasks.train`` claims them and ends them."""
