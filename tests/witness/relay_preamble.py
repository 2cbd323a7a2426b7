"""azbridge's preamble (section 7.1) at both ends. It is read as a stream: messages have no meaning in it [B]."""

from relay_party import Violation, require
from relay_stream import End, Stream

GO = bytes([1, 0, 0])
VERSION_UNKNOWN, WANTED_DATAGRAMS, WANTED_STREAM = bytes(3), bytes([0, 0, 1]), bytes([0, 0, 0xFF])


class Reader:
    def __init__(self, stream: Stream) -> None:
        self.stream, self.rest = stream, b""

    async def exactly(self, count: int) -> bytes:
        while len(self.rest) < count:
            message = await self.stream.receive()
            if isinstance(message, End):
                raise EOFError(str(message))
            self.rest += message[1]
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


async def propose(stream: Stream, name: str) -> bytes:
    """The sender's part, in two messages as azbridge's; gives what came after the answer."""
    await stream.send(bytes([1, 0, 0, len(name.encode())]))
    await stream.send(name.encode())
    reader = Reader(stream)
    answer = await reader.exactly(3)
    require(answer == GO, f"the listener answered {answer.hex(' ')}")
    return reader.rest


async def hear(stream: Stream, names: set[str]) -> bytes | None:
    """The listener's part; gives what came after the name, or None after a refusal, which closes the stream."""
    reader = Reader(stream)
    version, second, mode, length = await reader.exactly(4)
    if (version, second) != (1, 0) or mode not in (0, 1):
        await stream.send(VERSION_UNKNOWN)
    elif mode == 1:
        await stream.send(WANTED_STREAM)
    else:
        try:
            name = (await reader.exactly(length)).decode()
        except UnicodeDecodeError as error:
            raise Violation(f"the port name is not UTF-8: {error}") from error
        if name in names:
            await stream.send(GO)
            return reader.rest
        # An unknown name has no answer [B].
    await stream.shutdown(1000, "CloseAsync")
    return None
