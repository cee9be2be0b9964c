"""REST: the only place that imports the HTTP stack."""
