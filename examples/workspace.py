"""Stands for an interactive workspace: says what it was given and stays until it is stopped.

A real one would run JupyterLab or a shell:

    runai workspace submit notebook --gpu-portion-request 0.5 -- jupyter lab
"""

import os
import signal
import sys

SHOWN = ("RUNAI_PROJECT", "RUNAI_JOB_NAME", "RUNAI_VISIBLE_DEVICES", "RUNAI_GPU_FRACTION", "NODE_NAME")


def main() -> None:
    """Print the place that the scheduler gave, then wait."""
    for name in SHOWN:
        print(f"{name}={os.environ.get(name, '')}")
    print("ready", flush=True)
    stopped = signal.sigwait({signal.SIGTERM, signal.SIGINT})
    print(f"stopped by {signal.Signals(stopped).name}", flush=True)


if __name__ == "__main__":
    # Blocked, so that sigwait takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
    sys.exit(0)
