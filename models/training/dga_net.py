"""Trains the ensemble of `models.dga.learned` with numpy: tanh networks, Adam, decoupled weight decay.

Input: amounts in µL/L, labels as column indices of `CODES`, a weight per row.  Output: a `LearnedModel` without a card.
Against label noise: labels are smoothed, most of it within their own family; weights decay strongly; each epoch sees
every sample with a measurement error of its own (so that no network can lean on a digit), from which shares, logarithms
and votes are computed anew.  All members see the same batches and differ by where they start.  Same seed, same data,
same numpy: same weights.  Called by `models.training.dga`.
"""

from dataclasses import dataclass

import numpy as np

from models.dga.batch import CODES, Amounts, Matrix, answers
from models.dga.learned import LearnedModel, features
from models.findings import FAMILY

__all__ = ("Recipe", "fit_ensemble")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was chosen by leaving one origin out; the score hardly depends on any of it."""

    members: int = 16
    hidden: int = 12
    epochs: int = 150
    batch: int = 256
    rate: float = 0.01  # Adam's, falling to zero on a cosine
    decay: float = 0.4  # of the weights, times the rate, per step
    noise: float = 0.1  # relative standard deviation of the measurement error
    noise_ul_l: float = 0.3  # and its absolute part, for gases that are there
    smooth_family: float = 0.05  # of a label's weight, given to its family
    smooth_all: float = 0.05  # and to all codes alike
    seed: int = 60599


_BETA1, _BETA2, _EPSILON = 0.9, 0.99, 1e-8  # Adam's; the second is short because training is
_SCALE_FLOOR = 0.05  # a feature that hardly varies is not blown up


def fit_ensemble(amounts: Amounts, labels: np.ndarray, weights: Matrix, recipe: Recipe) -> LearnedModel:
    """Fit all members; `weights` (n,) need no particular sum."""
    rng = np.random.default_rng(recipe.seed)
    rows = features(amounts, answers(amounts))
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + _SCALE_FLOOR
    inputs, hidden, members = rows.shape[1], recipe.hidden, recipe.members
    tensors = [
        rng.normal(0.0, inputs**-0.5, (members, inputs, hidden)),
        np.zeros((members, 1, hidden)),
        rng.normal(0.0, hidden**-0.5, (members, hidden, len(CODES))),
        np.zeros((members, 1, len(CODES))),
    ]
    targets, weights = _smooth(labels, recipe), weights / weights.mean()
    adam = _Adam(tensors, recipe.decay)
    for epoch in range(recipe.epochs):
        seen = _measured_again(amounts, rng, recipe)
        rows = (features(seen, answers(seen)) - mean) / scale
        order = rng.permutation(len(rows))
        rate = recipe.rate * 0.5 * (1.0 + np.cos(np.pi * epoch / recipe.epochs))
        for start in range(0, len(rows), recipe.batch):
            chosen = order[start : start + recipe.batch]
            adam.step(_gradients(tensors, rows[chosen], targets[chosen], weights[chosen]), rate)
    w1, b1, w2, b2 = tensors
    return LearnedModel(mean, scale, w1, b1, w2, b2)


def _smooth(labels: np.ndarray, recipe: Recipe) -> Matrix:
    """(n, 6) targets."""
    kin = np.array([[FAMILY[code] is FAMILY[other] and code is not other for other in CODES] for code in CODES], float)
    lonely = kin.sum(axis=1, keepdims=True) == 0
    within = np.where(lonely, np.full_like(kin, 1 / len(CODES)), kin / np.maximum(kin.sum(axis=1, keepdims=True), 1.0))
    kept = 1.0 - recipe.smooth_family - recipe.smooth_all
    table = kept * np.eye(len(CODES)) + recipe.smooth_family * within + recipe.smooth_all / len(CODES)
    targets: Matrix = table[labels]
    return targets


def _measured_again(amounts: Amounts, rng: np.random.Generator, recipe: Recipe) -> Amounts:
    """The same samples with another measurement error; what was not detected stays so."""
    relative = np.exp(recipe.noise * rng.normal(size=amounts.shape))
    absolute = recipe.noise_ul_l * rng.normal(size=amounts.shape) * (amounts > 0)
    seen = np.maximum(amounts * relative + absolute, 0.0)
    return np.where(seen.sum(axis=1, keepdims=True) > 0, seen, amounts)


def _gradients(tensors: list[Matrix], rows: Matrix, targets: Matrix, weights: Matrix) -> list[Matrix]:
    """Of the weighted mean cross-entropy, per member."""
    w1, b1, w2, b2 = tensors
    inner = np.tanh(rows @ w1 + b1)
    logits = inner @ w2 + b2
    grown = np.exp(logits - logits.max(axis=2, keepdims=True))
    error = (grown / grown.sum(axis=2, keepdims=True) - targets) * (weights / len(rows))[:, np.newaxis]
    inner_error = error @ w2.transpose(0, 2, 1) * (1.0 - inner**2)
    return [
        rows.T @ inner_error,
        inner_error.sum(axis=1, keepdims=True),
        inner.transpose(0, 2, 1) @ error,
        error.sum(axis=1, keepdims=True),
    ]


class _Adam:
    """Adam with decoupled decay of the matrices, not of the offsets; changes the tensors in place."""

    def __init__(self, tensors: list[Matrix], decay: float) -> None:
        self._tensors = tensors
        self._decay = decay
        self._first = [np.zeros_like(tensor) for tensor in tensors]
        self._second = [np.zeros_like(tensor) for tensor in tensors]
        self._steps = 0

    def step(self, gradients: list[Matrix], rate: float) -> None:
        self._steps += 1
        unbias1, unbias2 = 1 - _BETA1**self._steps, 1 - _BETA2**self._steps
        for index, (tensor, gradient) in enumerate(zip(self._tensors, gradients, strict=True)):
            first, second = self._first[index], self._second[index]
            first += (1 - _BETA1) * (gradient - first)
            second += (1 - _BETA2) * (gradient**2 - second)
            change = rate * (first / unbias1) / (np.sqrt(second / unbias2) + _EPSILON)
            shrink = rate * self._decay if index % 2 == 0 else 0.0
            np.multiply(tensor - change, 1 - shrink, out=tensor)
