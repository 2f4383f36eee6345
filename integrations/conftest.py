"""What the tests of all plug-ins share."""

import signal


def pytest_configure() -> None:
    """Let Ctrl-C be tested: a shell that starts us in the background makes us, and all we start, ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
