"""Outages that end: a leg drops every packet for a while, and the session survives."""

import itertools
import queue
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from carrier import Impairment
from expect import SOON, Failure, until
from flows import DATA, MIB, Intake, blocks, echo, take
from legs import TO_HUB, TO_PARTY
from parties import Site

# TCP doubles the time between retransmissions: after an outage of a minute, the next one may be 45 s away.
RECOVERY = 90.0


class Session:
    """The user sends a line every second; the device echoes it."""

    def __init__(self, site: Site, options: Iterable[str] = ()) -> None:
        self.helper = site.helper(*options)
        self.back = Intake(self.helper.output)
        self.said = b""

    def say(self, lines: int) -> None:
        for number in range(lines):
            if self.helper.process.poll() is not None:
                self.helper.ends_well(0)
                raise Failure("the helper ended in mid-session, with 0")
            line = f"{len(self.said)} {number}\n".encode()
            self.said += line
            # A helper that has just ended is seen the next time.
            with suppress(BrokenPipeError):
                self.helper.send(line)
            time.sleep(1)

    def hears_all(self, seconds: float) -> None:
        def heard() -> bool:
            return self.back.count >= len(self.said) or self.helper.process.poll() is not None

        until(heard, seconds, "the echo is not back")

    def end(self) -> None:
        self.helper.process.stdin.close()
        self.helper.ends_well(SOON)
        self.back.expect(self.said, SOON)


def blackout(directory: Path, seconds: int, which: str, times: int = 1, one_way: int | None = None) -> None:
    """A blackout in the middle of a session, or one of one direction; each line that was lost has to come back."""
    lines = {} if one_way is None else {which: Impairment()}
    with Site(directory, echo, lines=lines) as site:
        session = Session(site)
        for _ in range(times):
            session.say(3)
            session.hears_all(RECOVERY)
            before = session.back.count
            with site.blackout(which, one_way):
                session.say(seconds)
                if session.back.count > before:
                    raise Failure("the leg carried data during the blackout")
        session.say(3)
        session.hears_all(RECOVERY)
        session.end()


def while_idle(
    directory: Path,
    seconds: int,
    which: str,
    before: float = 0,
    options: Iterable[str] = (),
    settings: str = "",
) -> None:
    """A blackout in which nobody says anything, `before` seconds after the last line."""
    with Site(directory, echo, settings) as site:
        session = Session(site, options)
        session.say(3)
        session.hears_all(SOON)
        time.sleep(before)
        with site.blackout(which):
            time.sleep(seconds)
        session.say(3)
        session.hears_all(RECOVERY)
        session.end()


def in_transfer(directory: Path, seconds: int, which: str, way: str) -> None:
    """A blackout in the middle of a transfer."""
    data = DATA[: 16 * MIB]
    halfway, go_on = threading.Event(), threading.Event()

    def halting() -> Iterator[memoryview]:
        yield from blocks(data[: 8 * MIB])
        halfway.set()
        go_on.wait()
        yield from blocks(data[8 * MIB :])

    arriving: queue.SimpleQueue[Intake] = queue.SimpleQueue()

    def serve(connection: socket.socket) -> None:
        if way == "up":
            take(connection.recv, arriving)
        else:
            for block in halting():
                connection.sendall(block)

    with Site(directory, serve) as site:
        helper = site.helper()
        if way == "up":
            helper.feed(halting())
        else:
            arriving.put(Intake(helper.output))
        if not halfway.wait(SOON):
            raise Failure("half of the transfer does not get through")
        with site.blackout(which):
            go_on.set()
            time.sleep(seconds)
        helper.ends_well(RECOVERY)
        arriving.get(timeout=SOON).expect(data, SOON)


def while_stalled(directory: Path, which: str, way: str) -> None:
    """A blackout while the receiver does not read: only window probes are lost."""
    data = DATA[: 64 * MIB]
    arriving: queue.SimpleQueue[Intake] = queue.SimpleQueue()

    def serve(connection: socket.socket) -> None:
        if way == "up":
            time.sleep(90)
            take(connection.recv, arriving)
        else:
            connection.sendall(data)

    with Site(directory, serve) as site:
        helper = site.helper()
        if way == "up":
            helper.feed(blocks(data))
        time.sleep(15)
        with site.blackout(which):
            time.sleep(45)
        time.sleep(30)
        if way == "down":
            arriving.put(Intake(helper.output))
        helper.ends_well(RECOVERY + SOON)
        arriving.get(timeout=SOON).expect(data, SOON)


LEGS = ("user", "device", "both")
CASES = {
    f"blackout-{seconds}-{which}": partial(blackout, seconds=seconds, which=which)
    for seconds, which in itertools.product((60, 45, 30, 20, 10), LEGS)
}
CASES["keepalive-0-user"] = partial(while_idle, seconds=125, which="user", options=("--keepalive", "0"))
CASES["keepalive-0-device"] = partial(
    while_idle, seconds=125, which="device", settings='stream-keepalive = "0"'
)
for which in LEGS:
    CASES[f"blackout-60-{which}-idle"] = partial(while_idle, seconds=60, which=which)
    # The ping is lost early in the blackout, and TCP repeats it ever more rarely.
    CASES[f"blackout-60-{which}-long-idle"] = partial(while_idle, seconds=60, which=which, before=50)
CASES["blackouts-20-in-a-row"] = partial(blackout, seconds=20, which="both", times=3)
for way, which in itertools.product(("up", "down"), LEGS):
    CASES[f"blackout-45-{which}-{way}load"] = partial(in_transfer, seconds=45, which=which, way=way)
    CASES[f"blackout-45-{which}-stalled-{way}load"] = partial(while_stalled, which=which, way=way)
WAYS = {"out": TO_HUB, "in": TO_PARTY}
for which, (way, one_way) in itertools.product(("user", "device"), WAYS.items()):
    CASES[f"blackout-60-{which}-{way}"] = partial(blackout, seconds=60, which=which, one_way=one_way)
