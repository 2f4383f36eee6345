"""Data-parallel training on handwritten digits: real gradients, real processes, checkpoints.

Run it alone, or as a distributed workload of any number of workers:

    runai training pytorch submit digits --workers 3 -g 1 -- python examples/train_digits.py

Each process learns from its part of every batch; gradients are averaged over
all of them at each step. Rank 0 writes a checkpoint after each epoch, so that
a gang that was evicted goes on where it was.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

# Before numpy is loaded: the processes of a gang share the cores, so each keeps to one thread.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402
from digits import Digits, State, accuracy, load_digits, loss_and_gradient, new_state, restore, save  # noqa: E402
from rendezvous import Gang, Place  # noqa: E402

BATCH = 64
"""Pictures of one step, over all processes."""

LEARNING_RATE, MOMENTUM = 0.05, 0.9


def main(argv: list[str]) -> None:
    """Train, or go on training, and print the accuracy on pictures that were not learned from."""
    options = _options(argv)
    signal.signal(signal.SIGTERM, _stop)
    train, test = load_digits()
    with Gang.from_environment() as gang:
        place = gang.place
        state = _start(gang, options.checkpoints)
        say = _silent if place.rank else _say
        devices = os.environ.get("RUNAI_VISIBLE_DEVICES") or os.environ.get("CUDA_VISIBLE_DEVICES") or "none"
        _say(f"rank {place.rank} of {place.world_size} ready, devices {devices}")
        say(f"resuming after epoch {state.epoch}" if state.epoch else "starting with an untrained network")
        while state.epoch < options.epochs:
            state, loss = _epoch(gang, state, train, options.step_delay)
            if place.rank == 0:
                save(state, options.checkpoints)
            score = accuracy(state.weights, test)
            say(f"epoch {state.epoch:3d}/{options.epochs}  loss {loss:.4f}  test accuracy {score:.4f}")
        say(f"test accuracy {accuracy(state.weights, test):.4f}")


def _epoch(gang: Gang, state: State, train: Digits, step_delay: float) -> tuple[State, float]:
    """Return the state and the mean loss after every picture was seen once."""
    weights, momentum = state.weights, state.momentum
    # The same order in all processes: each takes its own part of every batch.
    order = np.random.default_rng(state.epoch).permutation(len(train.labels))
    losses = []
    for start in range(0, len(order) - BATCH + 1, BATCH):
        part = _part(order[start : start + BATCH], gang.place)
        loss, gradient = loss_and_gradient(weights, Digits(train.pictures[part], train.labels[part]))
        mean = gang.mean(np.append(gradient, loss))
        momentum = MOMENTUM * momentum - LEARNING_RATE * mean[:-1]
        weights = weights + momentum
        losses.append(mean[-1])
        time.sleep(step_delay)
    return State(weights, momentum, state.epoch + 1), float(np.mean(losses))


def _part(
    batch: np.ndarray[tuple[int], np.dtype[np.int64]], place: Place
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return batch[place.rank :: place.world_size]


def _start(gang: Gang, folder: Path) -> State:
    """Return the state that all processes start from: rank 0's checkpoint, or a new one."""
    mine = (restore(folder) if gang.place.rank == 0 else None) or new_state()
    shared = gang.share(np.concatenate([mine.weights, mine.momentum, [float(mine.epoch)]]))
    weights, momentum = np.split(shared[:-1], 2)
    return State(weights, momentum, int(shared[-1]))


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=20, help="how often each picture is learned from")
    parser.add_argument("--step-delay", type=float, default=0.0, metavar="SECONDS", help="wait after each step")
    parser.add_argument(
        "--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR", help="where checkpoints are kept"
    )
    return parser.parse_args(argv)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    _say("asked to stop; the last checkpoint is kept")
    raise SystemExit(128 + signal.SIGTERM)


def _say(text: str) -> None:
    print(text, flush=True)


def _silent(_: str) -> None:
    pass


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ConnectionError, TimeoutError) as error:
        sys.exit(f"rank {os.environ.get('RANK', '0')}: {error}")
