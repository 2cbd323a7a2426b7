"""What an end of a stream does, as the words of a test.

Steps, in order, separated by spaces:
  send:N            N random bytes in messages of 64 KiB
  text:TEXT         one text message
  binary:TEXT       one binary message
  stdin, tcp        what comes from stdin, or from the sink's TCP connection, until its end
  wait:N            until N bytes have come
  end               until the peer's direction has ended
  shutdown          Close 1000 "Shutdown": the end of our direction [D]
  close:CODE:TEXT   another Close
  drop              the end of TCP without a Close
All the while, what comes goes to the sink.
"""

import asyncio
import hashlib
import os
import sys

from relay_party import report, require
from relay_stream import BINARY, TEXT, End, Stream, Unsent

CHUNK = 1 << 16  # as .NET's pumps
SILENCE = 120.0  # seconds that any step may take


class Tally:
    def __init__(self) -> None:
        self.count, self.digest = 0, hashlib.sha256()

    def add(self, data: bytes) -> None:
        self.count += len(data)
        self.digest.update(data)


class Conversation:
    """One stream: a task that reads it, and the steps."""

    def __init__(self, stream: Stream, sink: str, early: bytes = b"") -> None:
        self.stream, self.sink_name, self.early = stream, sink, early
        self.sent, self.received = Tally(), Tally()
        self.messages: list[list[object]] = []  # type and size of the first few
        self.refused = False  # to send
        self.end: End | None = None
        self.changed = asyncio.Condition()
        self.tcp_reader: asyncio.StreamReader | None = None
        self.tcp_writer: asyncio.StreamWriter | None = None

    async def run(self, steps: str) -> End | None:
        if self.sink_name.startswith("tcp:"):
            self.tcp_reader, self.tcp_writer = await asyncio.open_connection(
                "127.0.0.1", int(self.sink_name.removeprefix("tcp:"))
            )
        reading = asyncio.create_task(self.read())
        try:
            for step in steps.split():
                working = asyncio.ensure_future(self.take(step))
                # A violation that the reader sees ends the step.
                await asyncio.wait({working, reading}, return_when=asyncio.FIRST_COMPLETED)
                if reading.done() and reading.exception():
                    working.cancel()
                    raise reading.exception()
                await working
        finally:
            reading.cancel()
        await self.stream.finish()
        report(
            "done",
            sent=self.sent.count,
            sentSha256=self.sent.digest.hexdigest(),
            received=self.received.count,
            receivedSha256=self.received.digest.hexdigest(),
            messages=self.messages,
            refusedToSend=self.refused,
            end=self.end.shown() if self.end else None,
        )
        return self.end

    async def read(self) -> None:
        if self.early:
            await self.deliver(self.early)
        while not isinstance(message := await self.stream.receive(), End):
            kind, data = message
            require(data, "an empty data message, which .NET takes for the end [D]")
            if len(self.messages) < 16:
                self.messages.append([{TEXT: "text", BINARY: "binary"}[kind], len(data)])
            await self.deliver(data)
        if self.sink_name == "stdout":
            os.close(sys.stdout.fileno())
        elif self.tcp_writer:
            self.tcp_writer.write_eof()
        async with self.changed:
            self.end = message
            self.changed.notify_all()

    async def deliver(self, data: bytes) -> None:
        if self.sink_name == "echo":
            await self.send(data)
        elif self.sink_name == "stdout":
            await asyncio.to_thread(write_all, sys.stdout.fileno(), data)
        elif self.tcp_writer:
            self.tcp_writer.write(data)
            await self.tcp_writer.drain()
        async with self.changed:
            self.received.add(data)
            self.changed.notify_all()

    async def send(self, data: bytes, text: bool = False) -> bool:
        """Whether the stream took it."""
        try:
            await self.stream.send(data, text)
        except Unsent:
            self.refused = True
            return False
        self.sent.add(data)
        return True

    async def take(self, step: str) -> None:
        word, _, value = step.partition(":")
        match word:
            case "send":
                left = int(value)
                while left and await self.send(os.urandom(min(left, CHUNK))):
                    left -= min(left, CHUNK)
            case "text" | "binary":
                await self.send(value.encode(), text=word == "text")
            case "stdin":
                while (chunk := await asyncio.to_thread(os.read, 0, CHUNK)) and await self.send(chunk):
                    pass
            case "tcp":
                while (chunk := await self.tcp_reader.read(CHUNK)) and await self.send(chunk):
                    pass
            case "wait":
                await self.until(lambda: self.end or self.received.count >= int(value))
                require(
                    self.received.count >= int(value),
                    f"the stream ended ({self.end}) after {self.received.count} of {value} bytes",
                )
            case "end":
                await self.until(lambda: self.end)
            case "shutdown":
                await self.close(1000, "Shutdown")
            case "close":
                code, _, reason = value.partition(":")
                await self.close(int(code), reason)
            case "drop":
                self.stream.drop()
            case _:
                raise ValueError(f"no step is called {step!r}")

    async def until(self, condition: object) -> None:
        async with asyncio.timeout(SILENCE), self.changed:
            await self.changed.wait_for(condition)

    async def close(self, code: int, reason: str) -> None:
        try:
            await self.stream.shutdown(code, reason)
        except Unsent:
            self.refused = True


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
