"""A joined stream: the service passes frames on between a sender and its listener."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable

from relay_service_websocket import BINARY, CLOSE, DATA, PING, PONG, TEXT, Frame, Socket


class Relay:
    """Frames between a sender and its listener. A Close ends one direction [C], or each hop's, as asked."""

    def __init__(
        self,
        options: argparse.Namespace,
        check: Callable[[object, str], None],
        sender: Socket,
        listener: Socket,
    ) -> None:
        self.options, self.check = options, check
        self.ends = {"sender": sender, "listener": listener}
        self.closed: dict[str, bool] = {"sender": False, "listener": False}  # the direction from it

    async def run(self) -> None:
        pumps = [
            asyncio.create_task(self.pump("sender", "listener")),
            asyncio.create_task(self.pump("listener", "sender")),
        ]
        try:
            await asyncio.gather(*pumps)
        except (OSError, Cut):
            # The end of one without a Close is passed on as one [C].
            for socket in self.ends.values():
                socket.abort()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(
                *pumps, *(socket.end() for socket in self.ends.values()), return_exceptions=True
            )

    async def pump(self, source: str, sink: str) -> None:
        frames = self.ends[source].frames()
        while frame := await self.next_frame(source, frames):
            await self.take(source, sink, frame)

    async def next_frame(self, source: str, frames: AsyncIterator[Frame]) -> Frame | None:
        """None once both directions have ended, or this hop by itself."""
        if all(self.closed.values()):
            return None
        frame = await anext(frames, None)
        own_end = self.options.per_hop_close and self.closed[source]
        if frame is None and not own_end and not all(self.closed.values()):
            raise Cut
        return frame

    async def take(self, source: str, sink: str, frame: Frame) -> None:
        socket, other = self.ends[source], self.ends[sink]
        if frame.opcode == PING:
            if not self.closed[sink]:
                await socket.send(PONG, frame.data)
        elif frame.opcode == CLOSE:
            await self.close(source, sink, frame)
        elif frame.opcode in DATA:
            self.check(not self.closed[source], f"the {source} sent data after its Close (RFC 6455)")
            self.check(
                frame.data or not frame.final or frame.opcode == 0,
                f"the {source} sent an empty data message, which .NET takes for the end [D]",
            )
            if not self.closed[source] and not (self.options.per_hop_close and self.closed[sink]):
                await self.forward(other, frame)

    async def forward(self, other: Socket, frame: Frame) -> None:
        opcode = frame.opcode
        if self.options.text and opcode == BINARY and frame.final and frame.data.isascii():
            opcode = TEXT
        size = self.options.fragment or max(len(frame.data), 1)
        for at in range(0, max(len(frame.data), 1), size):
            last = at + size >= len(frame.data)
            await other.send(opcode if at == 0 else 0, frame.data[at : at + size], frame.final and last)

    async def close(self, source: str, sink: str, frame: Frame) -> None:
        self.check(not self.closed[source], f"the {source} sent two Closes (RFC 6455)")
        code, reason = frame.close
        print(f"close: {source} {code} {reason}", file=sys.stderr, flush=True)
        self.closed[source] = True
        if self.options.per_hop_close:
            if self.closed[sink]:
                return  # answered before
            await self.ends[source].send(CLOSE, frame.data)
            await self.ends[source].end()
        await self.ends[sink].send(CLOSE, frame.data)
        if all(self.closed.values()):
            # Both have their Close: the service ends TCP, which also ends the other pump.
            for socket in self.ends.values():
                await socket.end()


class Cut(Exception):
    """TCP ended without a Close."""
