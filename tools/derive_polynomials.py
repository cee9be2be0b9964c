"""Derives the coefficients of native/simd/math.inc.

Every function is reduced to a smooth one on a short interval; that one is fitted by the polynomial
of least largest error, by Lawson's method: weighted least squares whose weights are multiplied by
the error of the last round. Coefficients are then rounded to float32 one after the other, from the
constant term up, and the rest is fitted again each time.

    python tools/derive_polynomials.py        # prints each fit and its largest relative error

Needs numpy and mpmath.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
import numpy.typing as npt

LAWSON_ROUNDS = 400
SAMPLES = 1500

Array = npt.NDArray[np.float64]
Function = Callable[[mpmath.mpf], mpmath.mpf]


@dataclass(frozen=True)
class Fit:
    """`function` on [low, high] as a polynomial; the error that counts is `weight` times as big."""

    name: str
    function: Function
    low: float
    high: float
    degree: int
    weight: Function


def main() -> None:
    mpmath.mp.dps = 40
    for fit in FITS:
        coefficients, error = derive(fit)
        print(f"{fit.name}: largest weighted error {error:.3g} = 2^{np.log2(error):.2f}")
        print("  " + ", ".join(f"{c:.9g}f" for c in coefficients))


def derive(fit: Fit) -> tuple[list[float], float]:
    """Coefficients from the constant term up, each a float32, and the error that they reach."""
    x = chebyshev_nodes(fit.low, fit.high)
    target = sample(fit.function, x)
    weight = sample(fit.weight, x)
    rounded: list[float] = []
    while len(rounded) <= fit.degree:
        known = powers(x, range(len(rounded))) @ np.array(rounded)
        free = fit_minimax(powers(x, range(len(rounded), fit.degree + 1)), target - known, weight)
        rounded.append(float(np.float32(free[0])))
    value = powers(x, range(fit.degree + 1)) @ np.array(rounded)
    return rounded, float(np.max(np.abs(value - target) * weight))


def fit_minimax(basis: Array, target: Array, weight: Array) -> Array:
    """Coefficients of `basis` with the least largest weighted error."""
    scale = np.max(np.abs(basis), axis=0)
    lawson = np.full(len(target), 1.0 / len(target))
    best, best_error = np.zeros(basis.shape[1]), np.inf
    for _ in range(LAWSON_ROUNDS):
        root = np.sqrt(lawson) * weight
        free, *_ = np.linalg.lstsq(basis / scale * root[:, None], target * root, rcond=None)
        free = free / scale
        error = np.abs(basis @ free - target) * weight
        if error.max() < best_error:
            best, best_error = free, error.max()
        lawson = lawson * error
        lawson /= lawson.sum()
    return best


def chebyshev_nodes(low: float, high: float) -> Array:
    angles = (np.arange(SAMPLES) + 0.5) * np.pi / SAMPLES
    return (low + high) / 2 + (high - low) / 2 * np.cos(angles)


def sample(function: Function, x: Array) -> Array:
    return np.array([float(function(mpmath.mpf(float(v)))) for v in x])


def powers(x: Array, exponents: range) -> Array:
    columns = [x**k for k in exponents]
    return np.stack(columns, axis=1) if columns else np.zeros((len(x), 0))


def exp_tail(r: mpmath.mpf) -> mpmath.mpf:
    """(exp(r) - 1 - r) / r^2."""
    return mpmath.nsum(lambda k: r**k / mpmath.factorial(k + 2), [0, 25])


def log_tail(f: mpmath.mpf) -> mpmath.mpf:
    """(log(1 + f) - f + f^2 / 2) / f^3."""
    if abs(f) < mpmath.mpf("1e-6"):
        return mpmath.mpf(1) / 3 - f / 4 + f**2 / 5
    return (mpmath.log1p(f) - f + f**2 / 2) / f**3


def erf_excess(square: mpmath.mpf) -> mpmath.mpf:
    """erf(x) / x - 1 as a function of x^2."""
    x = mpmath.sqrt(square)
    return mpmath.erf(x) / x - 1


def log_erfc(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.log(mpmath.erfc(x))


def normal_middle(square: mpmath.mpf) -> mpmath.mpf:
    """(Phi(x) - 1/2) / x as a function of x^2."""
    x = mpmath.sqrt(square)
    return mpmath.erf(x / mpmath.sqrt(2)) / (2 * x)


def normal_tail(z: mpmath.mpf) -> mpmath.mpf:
    """t * Phi(-t) * exp(t^2 / 2) with z = (t - 4) / (t + 4): between 0.26 and 0.4 for t >= 1."""
    t = 4 * (1 + z) / (1 - z)
    return t * mpmath.erfc(t / mpmath.sqrt(2)) / 2 * mpmath.exp(t**2 / 2)


def sin_tail(square: mpmath.mpf) -> mpmath.mpf:
    """(sin(x) / x - 1) / x^2 as a function of x^2."""
    return mpmath.nsum(lambda k: (-1) ** (k + 1) * square**k / mpmath.factorial(2 * k + 3), [0, 14])


def cos_tail(square: mpmath.mpf) -> mpmath.mpf:
    """(cos(x) - 1 + x^2 / 2) / x^4 as a function of x^2."""
    return mpmath.nsum(lambda k: (-1) ** k * square**k / mpmath.factorial(2 * k + 4), [0, 14])


HALF_LN2 = 0.34657359 * 1.0002
QUARTER_PI = 0.78539816 * 1.0002

FITS = (
    Fit("exp", exp_tail, -HALF_LN2, HALF_LN2, 4, lambda r: r**2 / mpmath.exp(r)),
    Fit("log", log_tail, -0.25, 0.5, 7, lambda f: abs(f**3 / mpmath.log1p(f)) if f else 0),
    Fit("erf below 1", erf_excess, 1e-12, 1.0, 6, lambda s: 1 / (1 + erf_excess(s))),
    Fit("log erfc above 1", log_erfc, 1.0, 4.0, 5, lambda x: mpmath.erfc(x) / mpmath.erf(x)),
    Fit("normal below 1", normal_middle, 1e-12, 1.0, 5, lambda q: 3 * mpmath.sqrt(q)),
    Fit("normal above 1", normal_tail, -0.6, 0.568, 8, lambda z: 1 / normal_tail(z)),
    Fit("sin", sin_tail, 0.0, QUARTER_PI**2, 3, lambda s: s),
    Fit("cos", cos_tail, 0.0, QUARTER_PI**2, 3, lambda s: s**2),
)

if __name__ == "__main__":
    main()
