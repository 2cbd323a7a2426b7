"""A WebSocket of a sender or a listener, closed as .NET closes it or as the libraries of Node and Python do.

Both kinds of a stream have the same methods. Only .NET's can go on after one direction has ended [C]: it is written
here from RFC 6455. The other kind is the `websockets` library, which Microsoft's Python sample uses [Ppy].
"""

import asyncio
import base64
import hashlib
import os
import ssl
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay_party import Violation, require

DIAL_LIMIT = 70  # seconds, as .NET's sender [D]
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class End:
    """How the peer's direction ended: with a Close (1005: without a code), or cut without one (no code)."""

    code: int | None = None
    reason: str = ""

    def shown(self) -> dict[str, object]:
        return asdict(self) if self.code else {"cut": True}


class Refused(Exception):
    """The upgrade was answered with another status than 101."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.reason = status, reason


class Unsent(Exception):
    """The stream takes nothing more."""


def check_answer(headers: dict[str, str], protocols: Sequence[str]) -> str | None:
    """Nothing may be negotiated but one sub-protocol that was offered [P][T]; gives it."""
    require("sec-websocket-extensions" not in headers, "an extension was negotiated [T]")
    chosen = headers.get("sec-websocket-protocol")
    require(
        chosen is None or chosen in protocols,
        f"the sub-protocol {chosen!r} is not one of {list(protocols)} [P]",
    )
    return chosen


class DotnetStream:
    """Frame by frame: a Close ends one direction, and the other goes on until its own [D][C]."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.protocol: str | None = None
        self.closed = False  # our direction
        self.parts: list[bytes] | None = None  # of the message being read
        self.part_opcode = 0

    @classmethod
    async def dial(
        cls,
        url: str,
        headers: Headers,
        tls: ssl.SSLContext,
        protocols: Sequence[str] = (),
        deflate: bool = False,
    ) -> "DotnetStream":
        parts = urlsplit(url)
        require(parts.scheme == "wss", f"{parts.scheme!r} is not wss")
        target = url[url.index(parts.netloc) + len(parts.netloc) :]  # unchanged [P]
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        if protocols:
            lines.append(f"Sec-WebSocket-Protocol: {', '.join(protocols)}")
        if deflate:
            lines.append("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        async with asyncio.timeout(DIAL_LIMIT):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=tls)
            writer.transport.set_write_buffer_limits(high=1, low=0)  # asyncio loses TLS data unsent at close
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except asyncio.IncompleteReadError as error:
                raise Violation(f"the upgrade was not answered: {error.partial!r}") from error
        status_line, *fields = head.rstrip("\r\n").split("\r\n")
        version, status, reason = (status_line + " ").split(" ", 2)
        require(version == "HTTP/1.1", f"the status line is {status_line!r}")
        if status != "101":
            writer.transport.abort()
            raise Refused(int(status), reason.rstrip())
        answer = {
            name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)
        }
        accept = base64.b64encode(
            hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        )
        require(
            answer.get("sec-websocket-accept") == accept.decode(), "Sec-WebSocket-Accept is wrong (RFC 6455)"
        )
        stream = cls(reader, writer)
        stream.protocol = check_answer(answer, protocols)
        return stream

    async def write(self, opcode: int, data: bytes) -> None:
        length = len(data)
        if length < 126:
            head = bytes([0x80 | opcode, 0x80 | length])
        elif length < 1 << 16:
            head = bytes([0x80 | opcode, 0x80 | 126]) + length.to_bytes(2)
        else:
            head = bytes([0x80 | opcode, 0x80 | 127]) + length.to_bytes(8)
        mask = os.urandom(4)
        self.writer.write(head + mask + masked(data, mask))
        await self.writer.drain()

    async def send(self, data: bytes, text: bool = False) -> None:
        if self.closed:
            raise Unsent
        try:
            await self.write(TEXT if text else BINARY, data)
        except OSError as error:
            raise Unsent from error

    async def receive(self) -> tuple[int, bytes] | End:
        """The next message, or the end. Pings are answered on the way."""
        while True:
            try:
                first, second = await self.reader.readexactly(2)
                require(not first & 0x70, "a reserved bit is set (RFC 6455)")
                require(not second & 0x80, "a frame from the service is masked (RFC 6455)")
                length = second & 0x7F
                if length >= 126:
                    length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8))
                data = await self.reader.readexactly(length) if length else b""
            except (asyncio.IncompleteReadError, OSError):
                return End()
            final, opcode = first & 0x80, first & 0x0F
            if opcode >= CLOSE:
                require(final and length <= 125, "a control frame is fragmented or too long (RFC 6455)")
            if opcode == PING:
                if not self.closed:
                    await self.pong(data)
            elif opcode == CLOSE:
                require(length != 1, "a Close of one byte (RFC 6455)")
                return End(int.from_bytes(data[:2]) if data else 1005, data[2:].decode())
            elif opcode in (0, TEXT, BINARY):
                require(
                    (opcode == 0) == (self.parts is not None), "a fragment has the wrong opcode (RFC 6455)"
                )
                if self.parts is None:
                    self.parts, self.part_opcode = [], opcode
                self.parts.append(data)
                if final:
                    message, self.parts = b"".join(self.parts), None
                    return self.part_opcode, message
            else:
                require(opcode == PONG, f"the opcode {opcode} is not defined (RFC 6455)")

    async def pong(self, data: bytes) -> None:
        try:
            await self.write(PONG, data)
        except OSError:
            return  # what was received before is still read

    async def shutdown(self, code: int, reason: str) -> None:
        """End our direction [D]; at most once."""
        if self.closed:
            return
        self.closed = True
        try:
            await self.write(CLOSE, code.to_bytes(2) + reason.encode())
        except OSError as error:
            raise Unsent from error

    def drop(self) -> None:
        """End TCP without a Close; what was sent still goes out."""
        self.closed = True
        self.writer.transport.abort()

    async def finish(self) -> None:
        """After both directions have ended, the service ends TCP (RFC 6455); bounded."""
        try:
            async with asyncio.timeout(5):
                await self.reader.read(1)
        except (TimeoutError, OSError):
            pass
        self.drop()


def masked(data: bytes, mask: bytes) -> bytes:
    length = len(data)
    stream = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data) ^ int.from_bytes(stream)).to_bytes(length)


class LibraryStream:
    """The `websockets` library: it answers a Close at once, and then refuses to send [T]."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.protocol = socket, None

    @classmethod
    async def dial(
        cls,
        url: str,
        headers: Headers,
        tls: ssl.SSLContext,
        protocols: Sequence[str] = (),
        deflate: bool = True,
    ) -> "LibraryStream":
        try:
            socket = await connect(
                url,
                additional_headers=headers,
                ssl=tls,
                compression="deflate" if deflate else None,
                subprotocols=list(protocols) or None,
                max_size=None,
                write_limit=(1, 0),  # asyncio loses TLS data unsent at close
                proxy=None,
                ping_interval=None,
                open_timeout=DIAL_LIMIT,
            )
        except InvalidStatus as refusal:
            raise Refused(refusal.response.status_code, refusal.response.reason_phrase) from refusal
        stream = cls(socket)
        stream.protocol = check_answer(
            {name.lower(): value for name, value in socket.response.headers.raw_items()}, protocols
        )
        return stream

    async def send(self, data: bytes, text: bool = False) -> None:
        try:
            await self.socket.send(data, text=text)
        except ConnectionClosed as closed:
            raise Unsent from closed

    async def receive(self) -> tuple[int, bytes] | End:
        try:
            message = await self.socket.recv()
        except ConnectionClosed as closed:
            if closed.sent and closed.sent.code in (1002, 1003, 1007, 1009):
                raise Violation(f"the service broke RFC 6455: {closed.sent}") from closed
            return End(closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else End()
        return (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)

    async def shutdown(self, code: int, reason: str) -> None:
        await self.socket.close(code, reason)

    def drop(self) -> None:
        self.socket.transport.abort()

    async def finish(self) -> None:
        await self.socket.close()


KINDS = {"dotnet": DotnetStream, "ws": LibraryStream}
Stream = DotnetStream | LibraryStream
