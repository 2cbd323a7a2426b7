"""Slow receivers and late answers: every byte arrives, however long it takes."""

import queue
import socket
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from expect import SOON, Failure
from flows import DATA, MIB, Intake, blocks, discard, echo, take
from parties import Site
from service import Service


def slow_target(directory: Path, size: int, sleep: float, options: Iterable[str] = ()) -> None:
    arriving: queue.SimpleQueue[Intake] = queue.SimpleQueue()

    def serve(connection: socket.socket) -> None:
        time.sleep(sleep)
        take(connection.recv, arriving)

    with Site(directory, serve) as site:
        helper = site.helper(*options)
        helper.feed(blocks(DATA[:size]))
        helper.ends_well(sleep + SOON)
        arriving.get(timeout=sleep + SOON).expect(DATA[:size], SOON)


def trickling_target(directory: Path) -> None:
    """The target reads 64 KiB every three seconds: the window opens a little now and then."""
    arriving: queue.SimpleQueue[Intake] = queue.SimpleQueue()
    since = time.monotonic()

    def read(connection: socket.socket, count: int) -> bytes:
        if time.monotonic() - since < 60:
            time.sleep(3)
        return connection.recv(count)

    def serve(connection: socket.socket) -> None:
        take(partial(read, connection), arriving)

    with Site(directory, serve) as site:
        helper = site.helper("--keepalive", "4s")
        helper.feed(blocks(DATA))
        helper.ends_well(60 + SOON)
        arriving.get(timeout=SOON).expect(DATA, SOON)


def slow_user(directory: Path, size: int, sleep: float, settings: str = "") -> None:
    with Site(directory, lambda connection: connection.sendall(DATA[:size]), settings) as site:
        helper = site.helper()
        time.sleep(sleep)
        Intake(helper.output).expect(DATA[:size], SOON)
        helper.ends_well(SOON)


def slow_both(directory: Path) -> None:
    """Both ends send, and neither reads for a while."""
    arriving: queue.SimpleQueue[Intake] = queue.SimpleQueue()
    data, sleep = DATA[: 32 * MIB], 90

    def serve(connection: socket.socket) -> None:
        sending = threading.Thread(target=connection.sendall, args=(data,), daemon=True)
        sending.start()
        time.sleep(sleep)
        take(connection.recv, arriving)
        sending.join()

    with Site(directory, serve) as site:
        helper = site.helper()
        helper.feed(blocks(data))
        time.sleep(sleep)
        Intake(helper.output).expect(data, SOON)
        helper.ends_well(SOON)
        arriving.get(timeout=SOON).expect(data, SOON)


def slow_answer(directory: Path, size: int, before: float, silence: float, duration: float) -> None:
    """The target waits, reads all of the input, stays silent, then sends its answer in pieces."""
    answer = DATA[:MIB]
    pieces = list(blocks(answer, MIB // 32))

    def serve(connection: socket.socket) -> None:
        time.sleep(before)
        discard(connection)
        time.sleep(silence)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(duration / len(pieces))

    with Site(directory, serve) as site:
        helper = site.helper()
        helper.feed(blocks(DATA[:size]))
        Intake(helper.output).expect(answer, before + silence + duration + SOON)
        helper.ends_well(SOON)


def slow_command(directory: Path) -> None:
    """A command target takes its time to answer."""
    with Site(directory, ["sh", "-c", "cat >/dev/null; sleep 40; echo answer"]) as site:
        helper = site.helper()
        helper.feed([b"GET\n"])
        Intake(helper.output).expect(b"answer\n", 40 + SOON)
        helper.ends_well(SOON)


def late_join(directory: Path, size: int) -> None:
    """The target speaks first; the service joins when its minute is almost over."""
    banner = bytes(DATA[:size])

    def serve(connection: socket.socket) -> None:
        connection.sendall(banner)
        echo(connection)

    with Site(directory, serve) as site:
        service = Service(site)
        service.ask()
        time.sleep(55)
        service.join()
        if service.receive(size) != banner:
            raise Failure("the banner is not what the target sent")
        service.send(b"and back\n")
        if (answer := service.receive(9)) != b"and back\n":
            raise Failure(f"the echo was {answer!r}")
        service.close()
        site.ended(1, SOON)


CASES = {
    "slow-target": partial(slow_target, size=64 * MIB, sleep=90),
    "slow-target-small": partial(slow_target, size=2_000_000, sleep=150),
    "slow-user": partial(slow_user, size=64 * MIB, sleep=90),
    "slow-user-small": partial(slow_user, size=2_000_000, sleep=150),
    "slow-both": slow_both,
    "slow-target-slow-answer": partial(slow_answer, size=16 * MIB, before=40, silence=20, duration=10),
    "slow-answer": partial(slow_answer, size=4, before=0, silence=0, duration=30),
    "silent-answer": partial(slow_answer, size=4, before=0, silence=40, duration=0),
    "silent-command": slow_command,
    "keepalive-4s-trickling-target": trickling_target,
    "keepalive-4s-slow-target": partial(
        slow_target, size=60_000_000, sleep=12, options=("--keepalive", "4s")
    ),
    "keepalive-4s-slow-target-small": partial(
        slow_target, size=2_000_000, sleep=30, options=("--keepalive", "4s")
    ),
    "keepalive-4s-slow-user": partial(
        slow_user, size=60_000_000, sleep=12, settings='stream-keepalive = "4s"'
    ),
    "keepalive-4s-slow-user-small": partial(
        slow_user, size=2_000_000, sleep=30, settings='stream-keepalive = "4s"'
    ),
    "device-speaks-first-late-join": partial(late_join, size=8),
    "device-speaks-first-late-join-large": partial(late_join, size=4 * MIB),
}
