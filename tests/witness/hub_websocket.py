"""The hub's end of a WebSocket, frame by frame, over a raw connection.

It works below messages because the rules it witnesses are about frames: opcode, size, mask, fragments.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from websockets.exceptions import ConnectionClosed, InvalidState
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

DATA = (Opcode.BINARY, Opcode.TEXT, Opcode.CONT)


class WebSocket:
    """One upgraded connection. RFC 6455 itself (masks, reserved bits, close codes) is the library's to check."""

    def __init__(
        self,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        violation: Callable[[str], None],
    ) -> None:
        self.reader, self.writer, self.violation = reader, writer, violation
        writer.transport.set_write_buffer_limits(high=1, low=0)  # asyncio loses TLS data unsent at close
        self.protocol = ServerProtocol(max_size=None, select_subprotocol=echo_mqtt)
        self.protocol.receive_data(head)
        self.request = self.protocol.events_received()[0]

    def answer_close_with_its_code(self) -> None:
        """Answer the peer's Close without its reason. The library answers with a copy."""
        send = self.protocol.send_frame

        def send_without_copy(frame: Frame) -> None:
            is_answer = frame.opcode is Opcode.CLOSE and self.closed_by_peer
            send(Frame(Opcode.CLOSE, frame.data[:2]) if is_answer else frame)

        self.protocol.send_frame = send_without_copy

    async def accept(self) -> bool:
        response = self.protocol.accept(self.request)
        self.protocol.send_response(response)
        await self.flush()
        if response.status_code != 101:
            self.violation(f"upgrade of {self.request.path}: {response.body!r} (RFC 6455)")
        return response.status_code == 101

    async def refuse(self, status: int, text: str) -> None:
        self.protocol.send_response(self.protocol.reject(status, text))
        await self.flush()

    async def frames(self) -> AsyncIterator[Frame]:
        """Every data frame until the peer closes or vanishes; control frames are answered on the way."""
        while True:
            for event in self.protocol.events_received():
                if event.opcode in DATA:
                    yield event
            with suppress(OSError):  # a peer that left may still have sent something
                await self.flush()
            if self.protocol.parser_exc:
                self.violation(f"frame: {self.protocol.parser_exc!r} (RFC 6455)")
                return
            if self.closed_by_peer:
                return
            try:
                data = await self.reader.read(65_536)
            except OSError:
                data = b""
            if not data:
                return
            self.protocol.receive_data(data)

    async def send(self, opcode: Opcode, data: bytes = b"", fin: bool = True) -> None:
        send = {
            Opcode.BINARY: self.protocol.send_binary,
            Opcode.TEXT: self.protocol.send_text,
            Opcode.CONT: self.protocol.send_continuation,
        }
        if opcode is Opcode.PING:
            self.protocol.send_ping(data)
        else:
            send[opcode](data, fin)
        await self.flush()

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait a moment for the peer's."""
        try:
            self.protocol.send_close(code, reason)
            await self.flush()
            async with asyncio.timeout(3):
                async for _ in self.frames():
                    pass
        except (TimeoutError, OSError, ConnectionClosed, InvalidState):
            pass

    @property
    def closed_by_peer(self) -> bool:
        return self.protocol.close_rcvd is not None

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.writer.write(data)
        await self.writer.drain()


def echo_mqtt(_protocol: ServerProtocol, offered: Sequence[str]) -> str | None:
    """Answer `mqtt` as it was offered, in either case [S]; never what was not offered [S][M]."""
    return next((name for name in offered if name.lower() == "mqtt"), None)
