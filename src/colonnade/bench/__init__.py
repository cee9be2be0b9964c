"""Measurements: engines in worker processes, timed in turns, compared, plotted."""
