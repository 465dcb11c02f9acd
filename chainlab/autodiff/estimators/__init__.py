"""Ways to get a gradient other than backpropagation, as gradient rules, and their comparison."""
