"""Graph to Graph: specialisation to input shapes, fusions, and the runner that applies them."""
