"""Checkpoints of a run: written atomically, checked when read, resumed bit for bit."""
