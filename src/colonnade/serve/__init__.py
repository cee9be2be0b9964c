"""Serving: models behind the protocols that clients already speak."""
