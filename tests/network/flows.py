"""Data to send, targets to send it to, and a check that all of it arrived."""

import hashlib
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from expect import Failure

MIB = 1 << 20
DATA = memoryview(random.Random(1).randbytes(64 * MIB))
BLOCK = 65536


class Intake(threading.Thread):
    """Reads to the end in a thread of its own, counting and hashing."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        super().__init__(daemon=True)
        self.read, self.count, self.digest = read, 0, hashlib.sha256()
        self.start()

    def run(self) -> None:
        with suppress(OSError, ValueError):
            while block := self.read(65536):
                self.digest.update(block)
                self.count += len(block)

    def expect(self, data: bytes | memoryview, seconds: float) -> None:
        """Waits for the end; what was read has to be `data`."""
        self.join(seconds)
        if self.is_alive() or self.count != len(data):
            raise Failure(
                f"{self.count} of {len(data)} bytes arrived{', and no end' if self.is_alive() else ''}"
            )
        if self.digest.digest() != hashlib.sha256(data).digest():
            raise Failure("other bytes arrived than were sent")


def blocks(data: memoryview, size: int = BLOCK) -> Iterator[memoryview]:
    return (data[at : at + size] for at in range(0, len(data), size))


def endless() -> Iterator[memoryview]:
    """Blocks without end, slow enough not to load the machine."""
    while True:
        yield DATA[:BLOCK]
        time.sleep(0.005)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(BLOCK):
        connection.sendall(data)


def discard(connection: socket.socket) -> None:
    while connection.recv(BLOCK):
        pass


def source(connection: socket.socket) -> None:
    for block in endless():
        connection.sendall(block)


def take(read: Callable[[int], bytes], arriving: "queue.SimpleQueue[Intake]") -> None:
    """Reads to the end; `arriving` gets the intake when reading begins."""
    intake = Intake(read)
    arriving.put(intake)
    intake.join()


def stall(_: socket.socket) -> None:
    threading.Event().wait()
