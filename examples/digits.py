"""The handwritten digits that scikit-learn ships, and a small network that learns them.

Shared by the training and the server. Only numpy does arithmetic here: reading
scikit-learn's file without importing scikit-learn saves a second for each process.
"""

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PIXELS, HIDDEN, CLASSES = 64, 96, 10
TEST_EVERY = 5
"""Every fifth picture is kept for the test."""

CHECKPOINT = "checkpoint.npz"


class Digits(NamedTuple):
    """Pictures (rows of 64 brightness values, 0 to 1) and the digit that each shows."""

    pictures: Array
    labels: NDArray[np.int64]


class State(NamedTuple):
    """The network's weights and momentum, flat, and how many epochs it has seen."""

    weights: Array
    momentum: Array
    epoch: int


def load_digits() -> tuple[Digits, Digits]:
    """Return the training and the test part.

    Raises:
        SystemExit: scikit-learn, which ships the pictures, is not installed.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the pictures come with scikit-learn: pip install scikit-learn")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",")
    pictures, labels = table[:, :-1] / 16.0, table[:, -1].astype(np.int64)
    test = np.arange(len(labels)) % TEST_EVERY == 0
    return Digits(pictures[~test], labels[~test]), Digits(pictures[test], labels[test])


def new_state(seed: int = 7) -> State:
    """Return an untrained network, the same for the same seed."""
    random = np.random.default_rng(seed)
    parts = (
        random.normal(0, np.sqrt(2 / PIXELS), PIXELS * HIDDEN),
        np.zeros(HIDDEN),
        random.normal(0, np.sqrt(2 / HIDDEN), HIDDEN * CLASSES),
        np.zeros(CLASSES),
    )
    weights = np.concatenate(parts)
    return State(weights, np.zeros_like(weights), 0)


def probabilities(weights: Array, pictures: Array) -> Array:
    """Return, for each picture, how likely each digit is."""
    return _forward(weights, pictures)[1]


def loss_and_gradient(weights: Array, batch: Digits) -> tuple[float, Array]:
    """Return the mean loss over the batch and its gradient, flat."""
    _, _, second, _ = _unpack(weights)
    hidden, guess = _forward(weights, batch.pictures)
    rows = np.arange(len(batch.labels))
    loss = float(-np.log(guess[rows, batch.labels] + 1e-12).mean())
    error = guess.copy()
    error[rows, batch.labels] -= 1
    error /= len(rows)
    back = (error @ second.T) * (hidden > 0)
    parts = (batch.pictures.T @ back, back.sum(0), hidden.T @ error, error.sum(0))
    return loss, np.concatenate([part.ravel() for part in parts])


def accuracy(weights: Array, digits: Digits) -> float:
    """Return the part of the pictures that the network reads correctly."""
    return float((probabilities(weights, digits.pictures).argmax(1) == digits.labels).mean())


def save(state: State, folder: Path) -> None:
    """Write a checkpoint: whole or not at all, also when the process is killed meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
        np.savez(file, weights=state.weights, momentum=state.momentum, epoch=state.epoch)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(folder / CHECKPOINT)


def restore(folder: Path) -> State | None:
    """Return the newest checkpoint, or None where there is none."""
    try:
        with np.load(folder / CHECKPOINT) as saved:
            return State(saved["weights"], saved["momentum"], int(saved["epoch"]))
    except FileNotFoundError:
        return None


def _unpack(weights: Array) -> tuple[Array, Array, Array, Array]:
    first, bias, second, last = np.split(weights, np.cumsum([PIXELS * HIDDEN, HIDDEN, HIDDEN * CLASSES]))
    return first.reshape(PIXELS, HIDDEN), bias, second.reshape(HIDDEN, CLASSES), last


def _forward(weights: Array, pictures: Array) -> tuple[Array, Array]:
    first, bias, second, last = _unpack(weights)
    hidden = np.maximum(pictures @ first + bias, 0)
    scores = hidden @ second + last
    scores -= scores.max(1, keepdims=True)
    guess = np.exp(scores)
    return hidden, guess / guess.sum(1, keepdims=True)
