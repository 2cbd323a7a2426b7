"""What the soak does to a station, and what that may cost its streams."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from expect import Failure
from resources import ports
from station import Station
from streams import Stream

END_LIMIT = 60.0
Fault = Callable[[Station, random.Random], None]


@contextmanager
def trouble(station: Station) -> Iterator[None]:
    """Meanwhile, and until a stream opens again, opening one may fail."""
    station.is_troubled = True
    try:
        yield
        station.probe()
        station.troubled_at = time.monotonic()
    finally:
        station.is_troubled = False


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    # A helper may have ended.
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def any_open(station: Station, dice: random.Random) -> Stream | None:
    streams = [stream for stream in list(station.live.values()) if stream.is_open()]
    return dice.choice(streams) if streams else None


def kill_helper(station: Station, dice: random.Random) -> None:
    stream = any_open(station, dice)
    if stream is not None:
        stream.hits.add("helper")
        stream.helper.process.kill()


def stop_helper(station: Station, dice: random.Random) -> None:
    stream = any_open(station, dice)
    if stream is not None:
        with stopped(stream.helper.process.pid):
            time.sleep(dice.uniform(1, 20))


def stop_reading(station: Station, dice: random.Random) -> None:
    for _ in range(3):
        stream = any_open(station, dice)
        if stream is not None:
            (stream.user_reads if dice.random() < 0.5 else stream.target_reads).clear()
    time.sleep(dice.uniform(1, 30))
    for stream in list(station.live.values()):
        stream.user_reads.set()
        stream.target_reads.set()


def kill_agent(station: Station, dice: random.Random) -> None:
    """Its streams end, and those that are being opened may. Those that older agents serve do not."""
    main, child = station.agent, station.agent_child()
    with trouble(station):
        with stopped(child):
            served = ports(child)
            for stream in list(station.live.values()):
                if not stream.served_at or stream.agent_pid == child or stream.agent_port in served:
                    stream.hits.add("agent")
            # Each of the two takes the other along.
            os.kill(child if dice.random() < 0.7 else main.pid, signal.SIGKILL)
        main.wait(END_LIMIT)
        station.start_restartable()


def restart_agent(station: Station, _dice: random.Random) -> None:
    """As the unit's ExecStop and systemd do it: no stream ends."""
    main = station.agent
    main.send_signal(signal.SIGUSR2)
    main.send_signal(signal.SIGTERM)
    status = main.wait(END_LIMIT)
    if status != 0:
        raise Failure(f"{station.name}: the agent ended with {status} at a restart")
    station.start_restartable()


def reload_agent(station: Station, _dice: random.Random) -> None:
    station.transport = "websocket" if station.transport == "mqtt" else "mqtt"
    station.reload()


def cut_hub_connections(station: Station, dice: random.Random) -> None:
    with trouble(station):
        for splice in station.splices:
            splice.cut(is_reset=dice.random() < 0.5)


def kill_emulator(station: Station, _dice: random.Random) -> None:
    """Every stream ends."""
    with trouble(station):
        with stopped(station.hub.pid):
            for stream in list(station.live.values()):
                stream.hits.add("emulator")
            station.hub.kill()
        station.hub.wait()
        station.start_emulator()


def stop_emulator(station: Station, dice: random.Random) -> None:
    with trouble(station), stopped(station.hub.pid):
        time.sleep(dice.uniform(1, 20))


def stop_agent(station: Station, dice: random.Random) -> None:
    with trouble(station), stopped(station.agent_child()):
        time.sleep(dice.uniform(1, 20))


def blackout(station: Station, dice: random.Random) -> None:
    with trouble(station), station.blackout(dice.choice(("user", "device", "both"))):
        time.sleep(dice.uniform(1, 20))


# The last ones replace a process, which a station whose memory is watched is spared.
GENTLE: dict[str, Fault] = {
    "helper killed": kill_helper,
    "helper stopped": stop_helper,
    "readers that stop": stop_reading,
    "reload": reload_agent,
    "hub connections cut": cut_hub_connections,
    "emulator stopped": stop_emulator,
    "agent stopped": stop_agent,
    "blackout": blackout,
}
ALL: dict[str, Fault] = GENTLE | {
    "agent killed": kill_agent,
    "restart": restart_agent,
    "emulator killed": kill_emulator,
}


def keep_striking(station: Station, faults: dict[str, Fault], seed: str) -> None:
    """Strikes with one fault after the other, in random order, until the station's end."""
    dice, order = random.Random(f"{seed} faults"), []
    while not station.is_over.wait(dice.uniform(1, 6)):
        if not order:
            order = dice.sample(list(faults), len(faults))
        name = order.pop()
        station.counts[name] += 1
        try:
            faults[name](station, dice)
        except Exception as error:
            station.fail(f"{station.name}: {name}: {error!r}")
