"""What a case expects, and how it fails."""

import time
from collections.abc import Callable

# For what takes no time by itself, on a busy machine.
SOON = 60.0


class Failure(Exception):
    """Why a case failed, for its line of output."""


def until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Waits for `condition`; returns how long that took."""
    since = time.monotonic()
    while not condition():
        if time.monotonic() - since > seconds:
            raise Failure(f"{what}, within {seconds:g} s")
        time.sleep(0.05)
    return time.monotonic() - since
