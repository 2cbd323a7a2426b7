"""Lines that lose, reorder, delay or hardly carry packets: every byte arrives, and no end takes the line for dead."""

import queue
import socket
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from blackouts import RECOVERY, Session
from carrier import Impairment
from expect import SOON, Failure, until
from flows import DATA, MIB, Intake, blocks, echo, take
from legs import TO_HUB, TO_PARTY
from parties import Site

# Lines as they are in the field; the way there takes as long as the way back.
LOSSY = Impairment(delay=0.02, loss=0.05)
REORDERING = Impairment(delay=0.02, reordered=0.25, late=0.05)
FAR = Impairment(delay=0.3)
# A keystroke waits for eight seconds when the queue is full.
NARROW = Impairment(delay=0.05, rate=64_000, queue=64_000)
KEEPALIVE = {"options": ("--keepalive", "4s"), "settings": 'stream-keepalive = "4s"'}


def exchange(
    directory: Path,
    which: str,
    line: Impairment,
    size: int,
    seconds: float,
    options: Iterable[str] = (),
    settings: str = "",
) -> None:
    """Both ends send at once."""
    arriving: queue.SimpleQueue[Intake] = queue.SimpleQueue()

    def serve(connection: socket.socket) -> None:
        sending = threading.Thread(target=connection.sendall, args=(DATA[:size],), daemon=True)
        sending.start()
        take(connection.recv, arriving)
        sending.join()

    with Site(directory, serve, settings, {which: line}) as site:
        helper = site.helper(*options)
        helper.feed(blocks(DATA[:size]))
        Intake(helper.output).expect(DATA[:size], seconds)
        helper.ends_well(SOON)
        arriving.get(timeout=SOON).expect(DATA[:size], SOON)


def second_stream(directory: Path, which: str) -> None:
    """While one stream fills a narrow line both ways, another one opens and works."""

    def serve(connection: socket.socket) -> None:
        if connection.recv(1) == b"x":
            echo(connection)
        else:
            sending = threading.Thread(target=connection.sendall, args=(DATA[:MIB],), daemon=True)
            sending.start()
            while connection.recv(65536):
                pass

    with Site(directory, serve, lines={which: NARROW}, settings=KEEPALIVE["settings"]) as site:
        first = site.helper(*KEEPALIVE["options"])
        first.feed(blocks(DATA[:MIB]))
        back = Intake(first.output)
        until(lambda: back.count > 20_000, SOON, "nothing comes back")
        time.sleep(10)
        second = site.helper("--wait", "60s", *KEEPALIVE["options"])
        second.feed([b"xare you there\n"])
        Intake(second.output).expect(b"are you there\n", 2 * SOON)
        second.ends_well(SOON)
        if first.process.poll() is not None:
            first.ends_well(0)


def brownout(directory: Path, which: str) -> None:
    """In the middle of a session, a third of all packets is lost for half a minute."""
    with Site(directory, echo, lines={which: Impairment(delay=0.02)}) as site:
        session, [leg] = Session(site), site.legs(which)
        session.say(3)
        for direction in (TO_PARTY, TO_HUB):
            leg.impair(direction, loss=0.33)
        session.say(30)
        leg.carry()
        session.say(3)
        session.hears_all(RECOVERY)
        session.end()


def half_dead_hub_connection(directory: Path, one_way: int) -> None:
    """The agent's packets vanish in one direction, and it is back within five seconds of the line's return."""
    with Site(directory, echo, 'keepalive = "5s"', {"device": Impairment(delay=0.02)}) as site:

        def said(words: str) -> int:
            return (site.directory / "agent.log").read_text().count(words)

        before = said("in service")
        with site.blackout("device", one_way):
            until(lambda: said("trying again"), SOON, "the agent does not notice")
            time.sleep(30)
        took = until(lambda: said("in service") > before, SOON, "the agent is not back")
        # Two seconds are for a busy machine.
        if took > 7:
            raise Failure(f"the agent is back after {took:.1f} s")
        session = Session(site)
        session.say(1)
        session.hears_all(SOON)
        session.end()


def no_answer(directory: Path, one_way: int) -> None:
    """The hub does not answer, or cannot: the helper says so in time."""
    with Site(directory, echo, lines={"user": Impairment()}) as site, site.blackout("user", one_way):
        helper = site.helper("--connect-timeout", "5s", "--response-timeout", "5s")
        status = helper.exit(SOON)
        took = time.monotonic() - helper.since
        if status != 75 or took > 20:
            raise Failure(f"the helper ended with {status} after {took:.1f} s: {helper.said()}")


LEGS = ("user", "device")
CASES = {}
for which in LEGS:
    CASES |= {
        f"loss-5-{which}": partial(exchange, which=which, line=LOSSY, size=2 * MIB, seconds=SOON),
        f"reordering-{which}": partial(exchange, which=which, line=REORDERING, size=2 * MIB, seconds=SOON),
        f"delay-300-ms-{which}": partial(exchange, which=which, line=FAR, size=2 * MIB, seconds=SOON),
        f"narrow-{which}": partial(
            exchange, which=which, line=NARROW, size=MIB // 8, seconds=2 * SOON, **KEEPALIVE
        ),
        f"narrow-{which}-second-stream": partial(second_stream, which=which),
        f"brownout-{which}": partial(brownout, which=which),
    }
for way, one_way in {"out": TO_HUB, "in": TO_PARTY}.items():
    CASES[f"hub-connection-{way}"] = partial(half_dead_hub_connection, one_way=one_way)
    CASES[f"no-answer-{way}"] = partial(no_answer, one_way=one_way)
