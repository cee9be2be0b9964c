"""Calibration data: where samples come from. source.py defines a sample and checks it."""
