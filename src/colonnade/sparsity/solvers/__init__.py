"""One-shot solvers: pure functions from weights, inputs' statistics and a pattern to fewer weights.

`hessian` is the sum of x x^T over the calibration data, [cols, cols]: the error that a solver
minimises is trace(E hessian E^T) for the change E of the weights.
"""
