"""A small inference server for the network that `train_digits.py` trained.

    python examples/serve_digits.py --port 8000 --checkpoints DIR

``GET /healthz`` answers 200 once a checkpoint is loaded and 503 before, which
is what a readiness check asks for. ``POST /predict`` takes ``{"pixels": [64
numbers from 0 to 16]}`` and answers the digit; ``GET /predict?sample=N`` reads
picture N of the test set.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qs, urlsplit

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from digits import PIXELS, Digits, State, load_digits, probabilities, restore

MAX_BODY = 64 * 1024
LOOK_EVERY = 0.2
"""Seconds between looks for a checkpoint."""


class BadRequest(ValueError):
    """What is wrong with a request, for the one who sent it."""


class Server(ThreadingHTTPServer):
    """Holds the network; it is not ready before there is one."""

    daemon_threads = True

    def __init__(self, port: int, test: Digits) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.test = test
        self.state: State | None = None

    def predict(self, pixels: list[float]) -> dict[str, Any]:
        """Return the digit that the pixels (0 to 16) show, and how sure that is."""
        if self.state is None:
            raise BadRequest("no checkpoint is loaded yet")
        try:
            picture = np.asarray(pixels, dtype=np.float64).reshape(1, PIXELS) / 16.0
        except (TypeError, ValueError):
            raise BadRequest(f"pixels must be {PIXELS} numbers from 0 to 16") from None
        guess = probabilities(self.state.weights, picture)[0]
        return {"digit": int(guess.argmax()), "probability": round(float(guess.max()), 4), "epoch": self.state.epoch}


class Handler(BaseHTTPRequestHandler):
    """Parses a request and answers in JSON."""

    server: Server

    def do_GET(self) -> None:
        """Answer /healthz and /predict?sample=N."""
        url = urlsplit(self.path)
        if url.path == "/healthz":
            ready = self.server.state is not None
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, {"status": "ok" if ready else "waiting for a checkpoint"})
        elif url.path == "/predict":
            self._answer_or_refuse(lambda: self._sample(parse_qs(url.query)))
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there are /healthz and /predict"})

    def do_POST(self) -> None:
        """Answer /predict with pixels in the body."""
        if urlsplit(self.path).path != "/predict":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there is /predict"})
            return
        self._answer_or_refuse(lambda: self.server.predict(self._pixels()))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Log to standard output: it is the workload's log."""
        print(format % args, flush=True)

    def _sample(self, query: dict[str, list[str]]) -> dict[str, Any]:
        test = self.server.test
        try:
            index = int(query["sample"][0])
            pixels = (test.pictures[index] * 16).tolist()
        except (KeyError, ValueError, IndexError):
            raise BadRequest(f"sample must be a number from 0 to {len(test.labels) - 1}") from None
        return {**self.server.predict(pixels), "truth": int(test.labels[index])}

    def _pixels(self) -> list[float]:
        size = int(self.headers.get("Content-Length") or 0)
        if size > MAX_BODY:
            raise BadRequest(f"the body may have {MAX_BODY} bytes")
        try:
            body = json.loads(self.rfile.read(size))
            return list(body["pixels"])
        except (ValueError, TypeError, KeyError):
            raise BadRequest('the body must be JSON: {"pixels": [...]}') from None

    def _answer_or_refuse(self, answer: Any) -> None:
        try:
            self._answer(HTTPStatus.OK, answer())
        except BadRequest as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _answer(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main(argv: list[str]) -> None:
    """Serve until asked to stop."""
    parser = argparse.ArgumentParser(description="Serve the digits network over HTTP, on loopback.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR")
    options = parser.parse_args(argv)
    _, test = load_digits()
    server = Server(options.port, test)
    threading.Thread(target=_load, args=(server, options.checkpoints), daemon=True).start()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
    print("stopped", flush=True)


def _load(server: Server, folder: Path) -> None:
    while (state := restore(folder)) is None:
        time.sleep(LOOK_EVERY)
    server.state = state
    print(f"loaded the network after epoch {state.epoch}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
