"""The hub's streaming gateway (section 4): two seats, frames relayed between them, as plainly or oddly as asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed, InvalidState
from websockets.frames import CloseCode, Frame, Opcode

from hub_websocket import WebSocket

LARGEST_FRAME = 65_536  # [S][I]
LARGEST_MESSAGE = 1 << 20
FRAMES_IN_FLIGHT = 256


@dataclass(frozen=True)
class Manner:
    """How the gateway relays; all of it is legal WebSocket. What the real one does is unknown [~]."""

    fragment: int | None = None
    text: bool = False
    big: bool = False
    no_close: bool = False
    copy_close: bool = False


@dataclass(frozen=True)
class End:
    code: int
    reason: str


Queue = asyncio.Queue[Frame | End]


@dataclass
class Seat:
    """One side's place at the gateway: its own URL and token [I], the way in and the way out."""

    token: str
    inbox: Queue
    outbox: Queue
    taken: bool = field(default=False)


def pair_of_seats(tokens: tuple[str, str]) -> tuple[Seat, Seat]:
    """Frames wait in the queue when one side joins before the other, in either order [S]."""
    one: Queue = asyncio.Queue(FRAMES_IN_FLIGHT)
    two: Queue = asyncio.Queue(FRAMES_IN_FLIGHT)
    return Seat(tokens[0], one, two), Seat(tokens[1], two, one)


async def admit(seat: Seat | None, socket: WebSocket, violation: Callable[[str], None]) -> bool:
    """Check the gateway GET (section 4.2); the refusals' statuses are this hub's own choice [~]."""
    headers = socket.request.headers
    if "Sec-WebSocket-Extensions" in headers:
        violation(f"gateway: extensions {headers['Sec-WebSocket-Extensions']!r} were offered")
    if seat is None:
        violation(f"gateway: nobody was given the URL {socket.request.path!r} [S]")
        await socket.refuse(404, "no such stream\n")
    elif headers.get("Authorization") != f"Bearer {seat.token}":
        violation(f"gateway: Authorization is not the bearer token of {socket.request.path!r} [S]")
        await socket.refuse(401, "bad token\n")
    elif seat.taken:
        violation(f"gateway: {socket.request.path!r} was joined twice")
        await socket.refuse(409, "taken\n")
    else:
        seat.taken = True
        return await socket.accept()
    return False


async def relay(seat: Seat, socket: WebSocket, manner: Manner, violation: Callable[[str], None]) -> None:
    """Run one side until it or its peer goes; then the gateway ends the other side [D]."""
    if not manner.copy_close:
        socket.answer_close_with_its_code()
    receiving = asyncio.create_task(receive(seat.outbox, socket, violation))
    delivering = asyncio.create_task(deliver(seat.inbox, socket, manner))
    await asyncio.wait({receiving, delivering}, return_when=asyncio.FIRST_COMPLETED)
    if delivering.done() and delivering.exception():
        await asyncio.wait({receiving}, timeout=30)  # it left: what it sent before still counts
    for task in (receiving, delivering):
        task.cancel()
    results = await asyncio.gather(receiving, delivering, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(
            result, (OSError, ConnectionClosed, InvalidState)
        ):
            raise result
    if isinstance(ended := results[1], End):
        if not manner.no_close:
            await socket.close(ended.code, ended.reason)
        return
    # This side went first: a close frame is passed on, a vanished peer is told as it was seen told once [I].
    closed = socket.protocol.close_rcvd
    if closed is None:
        end = End(1011, "WS disconnected")
    else:
        end = End(1000, "") if closed.code == CloseCode.NO_STATUS_RCVD else End(closed.code, closed.reason)
    # The other side may never have come, or be gone as well.
    with suppress(TimeoutError):
        await asyncio.wait_for(seat.outbox.put(end), 30)


async def receive(outbox: Queue, socket: WebSocket, violation: Callable[[str], None]) -> None:
    async for frame in socket.frames():
        if frame.opcode is Opcode.TEXT:
            violation("gateway: a text frame [S]")
        if len(frame.data) > LARGEST_FRAME:
            violation(f"gateway: a frame of {len(frame.data)} bytes [S][I]")
        await outbox.put(frame)


async def deliver(inbox: Queue, socket: WebSocket, manner: Manner) -> End:
    held: list[End] = []
    async for frame in frames_of(inbox, held):
        data = bytes(frame.data)
        if manner.fragment:
            await send_fragmented(socket, data, manner.fragment)
        elif manner.text and data.isascii():
            await socket.send(Opcode.TEXT, data)
        elif manner.big:
            await socket.send(Opcode.BINARY, await coalesced(data, inbox, held))
        elif manner.text:
            await socket.send(Opcode.BINARY, data)
        else:
            await socket.send(frame.opcode, data, frame.fin)
    return held[0]


async def frames_of(inbox: Queue, held: list[End]) -> AsyncIterator[Frame]:
    """Frames until the end, which is left in `held`."""
    while not held:
        item = await inbox.get()
        if isinstance(item, End):
            held.append(item)
        else:
            yield item


async def send_fragmented(socket: WebSocket, data: bytes, size: int) -> None:
    """An empty message, then this one in pieces with a ping and an empty continuation between them (RFC 6455)."""
    await socket.send(Opcode.BINARY)
    pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    await socket.send(Opcode.BINARY, pieces[0], fin=False)
    await socket.send(Opcode.PING, b"between fragments")
    for piece in pieces[1:]:
        await socket.send(Opcode.CONT, piece, fin=False)
    await socket.send(Opcode.CONT, b"", fin=True)


async def coalesced(data: bytes, inbox: Queue, held: list[End]) -> bytes:
    """This frame with those that follow within a moment, up to one large message."""
    message = bytearray(data)
    while len(message) <= LARGEST_MESSAGE - LARGEST_FRAME:
        try:
            item = await asyncio.wait_for(inbox.get(), 0.02)
        except TimeoutError:
            break
        if isinstance(item, End):
            held.append(item)
            break
        message += item.data
    return bytes(message)
