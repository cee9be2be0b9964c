"""One module for each resource; each has a `ROUTES` list."""
