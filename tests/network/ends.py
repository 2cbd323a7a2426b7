"""Streams that have to end: the network is dead, the user is gone, or a limit is reached."""

import itertools
import socket
import threading
import time
from functools import partial
from pathlib import Path

from carrier import Impairment
from expect import SOON, Failure, until
from flows import BLOCK, DATA, MIB, Intake, discard, echo, endless, source, stall
from legs import TO_HUB, TO_PARTY
from parties import Helper, Site
from service import Service

# Five seconds, plus a second for a busy machine.
GONE = 6.0


def stalled(*helpers: Helper) -> None:
    """Waits until `helpers` accept no more input."""
    last = (-1, 0.0)

    def rests() -> bool:
        nonlocal last
        fed = sum(helper.fed for helper in helpers)
        if fed != last[0]:
            last = (fed, time.monotonic())
        return time.monotonic() - last[1] > 1.5

    until(rests, SOON, "the upload does not stall")


def dead(
    directory: Path,
    which: str,
    traffic: str,
    keepalive: str,
    least: float,
    most: float,
    one_way: int | None = None,
) -> None:
    """A leg drops every packet for good, or each in one direction: the end on it notices in time, and not too early."""
    serve = {"idle": echo, "up": discard, "down": source, "stalled-up": stall, "stalled-down": source}[
        traffic
    ]
    settings = f'stream-keepalive = "{keepalive}"' if keepalive and which == "device" else ""
    options = ["--keepalive", keepalive] if keepalive and which == "user" else []
    lines = {} if one_way is None else {which: Impairment()}
    with Site(directory, serve, settings, lines) as site:
        helper = site.helper(*options)
        if traffic == "stalled-up":
            helper.feed(itertools.repeat(DATA[:BLOCK]))
            stalled(helper)
        elif traffic == "stalled-down":
            time.sleep(5)
        elif traffic == "up":
            helper.feed(endless())
            until(lambda: helper.fed > MIB, SOON, "nothing went up")
        else:
            back = Intake(helper.output)
            helper.send(b"hello\n")
            until(lambda: back.count >= (6 if traffic == "idle" else MIB), SOON, "nothing came back")
        with site.blackout(which, one_way):
            since = time.monotonic()
            if which == "user":
                status = helper.exit(most + 5)
                took = time.monotonic() - since
                if status != 75 or not helper.said():
                    raise Failure(f"the helper ended with {status} after {took:.1f} s: {helper.said()}")
            else:
                took = site.ended(1, most + 5)
                if site.ends()[0]["reason"] in ("the user ended", "the target ended"):
                    raise Failure("that is no ordinary end")
        if not least <= took <= most:
            raise Failure(f"noticed after {took:.1f} s, not between {least:g} and {most:g} s")


def gone_user(directory: Path) -> None:
    """Ten helpers are killed while their target reads nothing; their sessions are free for others again."""
    with Site(directory, stall, "max-sessions = 10") as site:
        helpers = [site.helper() for _ in range(10)]
        for helper in helpers:
            helper.feed(itertools.repeat(DATA[:BLOCK]))
        until(lambda: site.target.accepted == 10, SOON, "ten streams are not up")
        stalled(*helpers)
        for helper in helpers:
            helper.process.kill()
        site.ended(10, GONE)
        site.helper()
        until(lambda: site.target.accepted == 11, SOON, "no other stream is accepted")


def stall_after_input(connection: socket.socket) -> None:
    discard(connection)
    stall(connection)


def gone_before_the_answer(directory: Path) -> None:
    """The helper is killed after the target has read all of the input, and before it answers."""
    arrived = threading.Event()

    def serve(connection: socket.socket) -> None:
        discard(connection)
        arrived.set()
        stall(connection)

    with Site(directory, serve) as site:
        helper = site.helper()
        helper.feed([b"GET\n"])
        until(arrived.is_set, SOON, "the input did not arrive")
        helper.process.kill()
        site.ended(1, GONE)


def gone_service(directory: Path) -> None:
    """A service sends Close and ends its TCP connection; the target neither reads nor ends."""
    with Site(directory, stall) as site:
        service = Service(site)
        service.ask()
        service.join()
        service.send(b"hello\n")
        service.close()
        site.ended(1, GONE)


def limited(directory: Path, key: str, who: str) -> None:
    """The agent's limits hold while the target or the user stalls, and while the answer is awaited."""
    serve = {"target": stall, "user": source, "answer": stall_after_input}[who]
    with Site(directory, serve, f'{key} = "8s"') as site:
        helper = site.helper()
        if who == "target":
            helper.feed(itertools.repeat(DATA[:BLOCK]))
        elif who == "answer":
            helper.feed([b"GET\n"])
        site.ended(1, SOON)
        [end] = site.ends()
        if key not in end["reason"] or not 8_000 <= end["milliseconds"] <= 14_000:
            raise Failure(f"the stream ended after {end['milliseconds']} ms")
        # Once its output is read, the helper ends too.
        Intake(helper.output)
        helper.exit(10)


LEGS = ("user", "device")
TRAFFIC = ("idle", "up", "down", "stalled-up", "stalled-down")
CASES = {
    f"dead-{which}-{traffic}": partial(dead, which=which, traffic=traffic, keepalive="", least=100, most=120)
    for which, traffic in itertools.product(LEGS, TRAFFIC)
}
for key, who in itertools.product(("max-duration", "idle-timeout"), ("target", "user", "answer")):
    CASES[f"{key}-stalled-{who}"] = partial(limited, key=key, who=who)
CASES |= {
    "gone-user-stalled-target": gone_user,
    "gone-user-silent-target": gone_before_the_answer,
    "gone-service-stalled-target": gone_service,
}
for which, traffic in itertools.product(LEGS, TRAFFIC):
    # An end that stalls may have heard nothing for a while before the drop.
    least, most = (4, 14) if "stalled" in traffic else (7.5, 11)
    CASES[f"dead-{which}-{traffic}-4s"] = partial(
        dead, which=which, traffic=traffic, keepalive="4s", least=least, most=most
    )
WAYS = {"out": TO_HUB, "in": TO_PARTY}
for which, (way, one_way) in itertools.product(LEGS, WAYS.items()):
    one = partial(dead, which=which, one_way=one_way)
    # What the peer sends again arrives, so that the silence may begin with the ping.
    most = 120 if way == "in" else 145
    CASES[f"dead-{which}-{way}-idle"] = partial(one, traffic="idle", keepalive="", least=100, most=most)
    for traffic in TRAFFIC:
        least, most = (4, 14) if "stalled" in traffic else (7.5, 11 if way == "in" else 14)
        if (which, way, traffic) in (("user", "out", "stalled-up"), ("device", "out", "stalled-down")):
            # Behind a closed window, what the peer repeats passes for its answer to a probe until it repeats rarely.
            most = 75
        CASES[f"dead-{which}-{way}-{traffic}-4s"] = partial(
            one, traffic=traffic, keepalive="4s", least=least, most=most
        )
