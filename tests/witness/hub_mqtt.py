"""The hub's end of MQTT 3.1.1, no more of it than device streams and twins use (section 2)."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import hub_twin

CONNECT, CONNACK, PUBLISH, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = (
    1, 2, 3, 8, 9, 10, 11, 12, 13, 14,
)  # fmt: skip
OFFERS = "$iothub/streams/POST/#"  # [S][M]
ANSWERS = "$iothub/streams/res/#"  # [S][M]
ANSWER = re.compile(r"\$iothub/streams/res/(200|400)/\?\$rid=(.+)")  # [S][M]
LONGEST_KEEPALIVE = 1767  # [D]
API_VERSIONS = {"2017-11-08-preview", "2018-06-30", "2019-07-01-preview", "2020-09-30"}  # [S]


class Breach(Exception):
    """The device broke a rule; the session ends."""


@dataclass
class Connect:
    client_id: str
    username: str
    password: str
    keepalive: int


@dataclass
class Packet:
    """One control packet, with a cursor over its body."""

    kind: int
    flags: int
    body: bytes
    at: int = field(default=0)

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.body):
            raise Breach(f"MQTT packet {self.kind} is cut short")
        self.at += size
        return self.body[self.at - size : self.at]

    def number(self) -> int:
        return int.from_bytes(self.take(2))

    def text(self) -> str:
        return self.take(self.number()).decode()

    @property
    def rest(self) -> bytes:
        return self.body[self.at :]


def encode(kind: int, flags: int, body: bytes) -> bytes:
    length, size = b"", len(body)
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return bytes([kind << 4 | flags]) + length + body


async def read_packet(reader: asyncio.StreamReader) -> Packet:
    first = (await reader.readexactly(1))[0]
    size = 0
    for place in range(4):
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return Packet(first >> 4, first & 0x0F, await reader.readexactly(size))
    raise Breach("MQTT remaining length has more than four bytes")


def parse_connect(packet: Packet) -> Connect:
    """CONNECT as section 2.1 has it: name MQTT, level 4, user name and password, no will [D][M]."""
    if packet.kind != CONNECT or packet.flags:
        raise Breach(f"the first packet is {packet.kind} with flags {packet.flags}, not CONNECT")
    name, level, flags, keepalive = packet.text(), packet.take(1)[0], packet.take(1)[0], packet.number()
    if (name, level) != ("MQTT", 4):
        raise Breach(f"protocol {name!r} level {level}, not MQTT 3.1.1 [D]")
    if flags & ~0x02 != 0xC0:
        raise Breach(f"CONNECT flags {flags:#04x}, not user name and password alone [M]")
    if keepalive > LONGEST_KEEPALIVE:
        raise Breach(f"keepalive {keepalive} s is over {LONGEST_KEEPALIVE} [D]")
    connect = Connect(packet.text(), packet.text(), packet.text(), keepalive)
    if packet.rest:
        raise Breach("CONNECT has bytes after the password")
    return connect


def check_username(username: str, hubs: set[str], client_id: str) -> None:
    """`{hub}/{clientId}/?api-version=…&DeviceClientType=…` [D][S][M]."""
    path, mark, query = username.partition("/?")
    if not mark or path not in {f"{hub}/{client_id}" for hub in hubs}:
        raise Breach(f"the user name {username!r} does not begin with hub/client id/? [D]")
    values = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True))
    if values.get("api-version") not in API_VERSIONS:
        raise Breach(f"the user name {username!r} has no known api-version [S]")
    if not values.get("DeviceClientType"):
        raise Breach(f"the user name {username!r} has no DeviceClientType [D]")
    if unknown := set(values) - {"api-version", "DeviceClientType", "model-id", "auth-chain"}:
        raise Breach(f"the user name {username!r} has {unknown} [S]")


class Session:
    """A connected device: its subscriptions, the offers to it and its answers."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        send: Callable[[bytes], Awaitable[None]],
        answered: Callable[[str, bool], None],
        changed: Callable[[], Awaitable[None]],
        twin: hub_twin.Twin,
    ) -> None:
        self.reader, self.send, self.answered, self.changed = reader, send, answered, changed
        self.twin = twin
        self.filters: set[str] = set()

    @property
    def takes_offers(self) -> bool:
        return {OFFERS, ANSWERS} <= self.filters

    async def offer(self, topic: str) -> None:
        """PUBLISH at QoS 0, not retained, with an empty payload [S]."""
        await self.tell(topic, b"")

    async def tell(self, topic: str, payload: bytes) -> None:
        raw = topic.encode()
        await self.send(encode(PUBLISH, 0, len(raw).to_bytes(2) + raw + payload))

    async def run(self, keepalive: int) -> None:
        """Serve packets until the device leaves; it is dropped after 1.5 keepalives of silence [D]."""
        await self.send(encode(CONNACK, 0, b"\0\0"))
        while True:
            packet = await asyncio.wait_for(read_packet(self.reader), 1.5 * keepalive or None)
            if packet.kind == DISCONNECT:
                return
            handlers = {
                SUBSCRIBE: self.subscribe, UNSUBSCRIBE: self.unsubscribe, PUBLISH: self.publish, PINGREQ: self.ping,
            }  # fmt: skip
            if packet.kind not in handlers:
                raise Breach(
                    f"MQTT packet {packet.kind} from a device that only subscribes and publishes at QoS 0"
                )
            await handlers[packet.kind](packet)

    async def subscribe(self, packet: Packet) -> None:
        if packet.flags != 2:
            raise Breach(f"SUBSCRIBE flags {packet.flags}, must be 2 (MQTT 3.1.1)")
        number, granted = packet.number(), b""
        while packet.rest:
            topic, qos = packet.text(), packet.take(1)[0]
            if topic not in (OFFERS, ANSWERS, hub_twin.ANSWERS):
                raise Breach(f"subscription to {topic!r} [S]")
            if qos != 0:
                raise Breach(f"subscription to {topic!r} at QoS {qos} [S][M]")
            self.filters.add(topic)
            granted += b"\0"
        if number == 0 or not granted:
            raise Breach("SUBSCRIBE without a packet id or a filter (MQTT 3.1.1)")
        await self.send(encode(SUBACK, 0, number.to_bytes(2) + granted))
        await self.changed()

    async def unsubscribe(self, packet: Packet) -> None:
        if packet.flags != 2:
            raise Breach(f"UNSUBSCRIBE flags {packet.flags}, must be 2 (MQTT 3.1.1)")
        number = packet.number()
        while packet.rest:
            self.filters.discard(packet.text())
        await self.send(encode(UNSUBACK, 0, number.to_bytes(2)))

    async def publish(self, packet: Packet) -> None:
        """The answer to an offer (section 2.4): QoS 0, empty payload [S][M]. Or a request to the twin."""
        if packet.flags:
            raise Breach(f"the answer has PUBLISH flags {packet.flags}, not QoS 0 and unretained [S][M]")
        topic = packet.text()
        if topic.startswith("$iothub/twin/"):
            return await self.ask_twin(topic, packet.rest)
        if packet.rest:
            raise Breach(f"the answer has a payload of {len(packet.rest)} bytes [S][M]")
        if not (match := ANSWER.fullmatch(topic)):
            raise Breach(f"publication to {topic!r} [S][M]")
        self.answered(match[2], match[1] == "200")

    async def ask_twin(self, topic: str, payload: bytes) -> None:
        """Answer a GET or a report; a device that could not hear the answer asks in vain [D]."""
        if hub_twin.ANSWERS not in self.filters:
            raise Breach(f"{topic!r} before the subscription to {hub_twin.ANSWERS!r} [D]")
        if match := hub_twin.GET.fullmatch(topic):
            if payload.strip():
                raise Breach(f"a GET of the twin has a payload of {len(payload)} bytes [D]")
            return await self.tell(f"$iothub/twin/res/200/?$rid={match[1]}", self.twin.get())
        if not (match := hub_twin.REPORT.fullmatch(topic)):
            raise Breach(f"publication to {topic!r} [D]")
        try:
            version = self.twin.report(payload)
        except hub_twin.Misuse as misuse:
            raise Breach(misuse) from None
        await self.tell(f"$iothub/twin/res/204/?$rid={match[1]}&$version={version}", b"")

    async def ping(self, _packet: Packet) -> None:
        await self.send(encode(PINGRESP, 0, b""))
