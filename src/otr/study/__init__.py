"""A study: many runs that differ in objective, learning rate and seed, and what came of them."""
