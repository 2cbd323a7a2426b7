"""Carries packets between two TUN devices, as a bad line does. It is a process of its own, so that it is never late.

Its arguments are the descriptors of the devices, a seed, and the impairment of each direction. Each line of stdin is a
direction and its impairment from then on, and is answered by a line. The end of stdin is its end. The same packets
with the same seed have the same fate.
"""

import heapq
import json
import os
import random
import select
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

PACKET = 65536


@dataclass(frozen=True)
class Impairment:
    """Of one direction of a line."""

    # In seconds, one way.
    delay: float = 0.0
    # The share of packets that are lost, and of those that come `late` seconds later than their successors.
    loss: float = 0.0
    reordered: float = 0.0
    late: float = 0.05
    # In bits a second, and the bytes that wait at most; 0 is no limit.
    rate: float = 0.0
    queue: int = 100_000
    # Nothing comes through, and nobody is told.
    blackout: bool = False

    def __str__(self) -> str:
        return json.dumps(asdict(self))


class Direction:
    def __init__(self, source: int, sink: int, seed: str, impairment: Impairment) -> None:
        self.source, self.sink, self.impairment = source, sink, impairment
        self.dice = random.Random(seed)
        # When the line has sent all that waits.
        self.free = 0.0
        self.waiting: list[tuple[float, int, bytes]] = []
        self.count = 0

    def take(self, now: float) -> None:
        packet, line = os.read(self.source, PACKET), self.impairment
        is_lost, is_late = self.dice.random() < line.loss, self.dice.random() < line.reordered
        if line.blackout or is_lost:
            return
        due = now
        if line.rate:
            self.free = max(self.free, now)
            if (self.free - now) * line.rate / 8 + len(packet) > line.queue:
                return
            self.free += len(packet) * 8 / line.rate
            due = self.free
        due += line.delay + (line.late if is_late else 0.0)
        self.count += 1
        heapq.heappush(self.waiting, (due, self.count, packet))

    def give(self, now: float) -> None:
        while self.waiting and self.waiting[0][0] <= now:
            _, _, packet = heapq.heappop(self.waiting)
            # A device that is down loses it.
            with suppress(OSError):
                os.write(self.sink, packet)


def carry(first: int, second: int, seed: str, impairments: list[Impairment]) -> None:
    ways = [
        Direction(first, second, f"{seed} 0", impairments[0]),
        Direction(second, first, f"{seed} 1", impairments[1]),
    ]
    while True:
        due = min((way.waiting[0][0] for way in ways if way.waiting), default=None)
        limit = None if due is None else max(0.0, due - time.monotonic())
        ready, _, _ = select.select([0, first, second], [], [], limit)
        now = time.monotonic()
        for way in ways:
            if way.source in ready:
                way.take(now)
            way.give(now)
        if 0 in ready:
            orders = os.read(0, PACKET)
            if not orders:
                return
            for order in orders.splitlines():
                direction, _, impairment = order.decode().partition(" ")
                ways[int(direction)].impairment = Impairment(**json.loads(impairment))
                os.write(1, b"\n")


if __name__ == "__main__":
    carry(
        int(sys.argv[1]),
        int(sys.argv[2]),
        sys.argv[3],
        [Impairment(**json.loads(argument)) for argument in sys.argv[4:6]],
    )
