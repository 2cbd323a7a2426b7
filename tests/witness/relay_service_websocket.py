"""The service's end of HTTP and WebSocket, from RFC 9112 and RFC 6455, frame by frame: a relay passes frames on."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
DATA = (CONTINUATION, TEXT, BINARY)
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True)
class Head:
    """The head of a request; header names as they were sent."""

    method: str
    target: str
    headers: list[tuple[str, str]]

    @classmethod
    def parse(cls, text: str) -> "Head":
        line, *fields = text.rstrip("\r\n").split("\r\n")
        method, target, version = line.split(" ")
        if version != "HTTP/1.1":
            raise ValueError(f"the request line is {line!r}")
        pairs = [field.partition(":") for field in fields]
        return cls(method, target, [(name, value.strip()) for name, _, value in pairs])

    def get(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)

    @property
    def is_upgrade(self) -> bool:
        connection = (self.get("Connection") or "").lower().split(",")
        return (self.get("Upgrade") or "").lower() == "websocket" and "upgrade" in map(str.strip, connection)


@dataclass(frozen=True)
class Frame:
    final: bool
    opcode: int
    data: bytes

    @property
    def close(self) -> tuple[int, str]:
        return (int.from_bytes(self.data[:2]), self.data[2:].decode()) if self.data else (1005, "")


class Socket:
    """A connection to a sender or a listener."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, violation: Callable[[str], None]
    ) -> None:
        self.reader, self.writer, self.violation = reader, writer, violation
        writer.transport.set_write_buffer_limits(high=1, low=0)  # asyncio loses TLS data unsent at close

    async def refuse(self, status: int, reason: str) -> None:
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self.writer.write(head.encode("latin-1", "replace"))
        await self.end()

    async def upgrade(self, head: Head, protocol: str | None = None) -> None:
        key = head.get("Sec-WebSocket-Key") or ""
        if len(base64.b64decode(key)) != 16 or head.get("Sec-WebSocket-Version") != "13":
            self.violation(f"the key {key!r} or the version is wrong (RFC 6455)")
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Accept: {accept}",
        ]
        if protocol:
            lines.append(f"Sec-WebSocket-Protocol: {protocol}")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self.writer.drain()

    async def frames(self) -> AsyncIterator[Frame]:
        """Every frame until TCP ends or a frame is wrong."""
        fragmented = False
        while True:
            try:
                first, second = await self.reader.readexactly(2)
                length = second & 0x7F
                if length >= 126:
                    length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8))
                mask = await self.reader.readexactly(4) if second & 0x80 else bytes(4)
                data = await self.reader.readexactly(length) if length else b""
            except (asyncio.IncompleteReadError, OSError):
                return
            final, opcode = bool(first & 0x80), first & 0x0F
            wrong = (
                (not second & 0x80 and "is not masked")
                or (first & 0x70 and "has a reserved bit")
                or (opcode >= CLOSE and (not final or length > 125) and "is a control frame that is too long")
                or (opcode == CLOSE and length == 1 and "is a Close of one byte")
                or (opcode not in (*DATA, CLOSE, PING, PONG) and f"has the opcode {opcode}")
                or (
                    opcode in DATA
                    and fragmented != (opcode == CONTINUATION)
                    and "has a fragment's opcode wrong"
                )
            )
            if wrong:
                self.violation(f"a frame {wrong} (RFC 6455)")
                return
            if opcode in DATA:
                fragmented = not final
            yield Frame(final, opcode, unmasked(data, mask))

    async def send(self, opcode: int, data: bytes, final: bool = True) -> None:
        length = len(data)
        if length < 126:
            size = bytes([length])
        elif length < 1 << 16:
            size = b"\x7e" + length.to_bytes(2)
        else:
            size = b"\x7f" + length.to_bytes(8)
        self.writer.write(bytes([(0x80 if final else 0) | opcode]) + size + data)
        await self.writer.drain()

    async def end(self) -> None:
        """End TCP after all that was written; bounded."""
        try:
            await self.writer.drain()
            self.writer.close()
            async with asyncio.timeout(3):
                await self.writer.wait_closed()
        except (TimeoutError, OSError):
            self.abort()

    def abort(self) -> None:
        self.writer.transport.abort()


def unmasked(data: bytes, mask: bytes) -> bytes:
    length = len(data)
    stream = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data) ^ int.from_bytes(stream)).to_bytes(length)
