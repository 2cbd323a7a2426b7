"""A device that waits for stream requests over MQTT and checks every byte of them.

Prints `ready` once the hub acknowledged both subscriptions. Runs until SIGTERM, or for --count streams.
Exit status: 0 all was as the protocol document says, 1 a violation or a lost connection.
"""

import argparse
import asyncio
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import paho.mqtt.client as mqtt
from paho.mqtt.reasoncodes import ReasonCode
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from party import Credential, Violation, join, received, report_violation, require, sas, trusting, vanish

OFFERS = "$iothub/streams/POST/#"  # [S][M]
ANSWERS = "$iothub/streams/res/#"  # [S][M]
MQTT_PATH = "/$iothub/websocket"  # [D]
API_VERSION = "2020-09-30"  # [M] as Microsoft's C SDK 1.9.0
PERCENT_UPPER = re.compile(r"(?:[A-Za-z0-9\-._~!*()']|%[0-9A-F]{2})*")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connection-string-file", type=Path, required=True)
    parser.add_argument("--ca-file", type=Path, required=True)
    parser.add_argument("--transport", choices=["websocket", "mqtt"], default="websocket")
    parser.add_argument("--mqtt-port", type=int, default=8883)
    parser.add_argument("--subscribe-apart", action="store_true", help="two SUBSCRIBE packets, as C# [S]")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--target", metavar="HOST:PORT")
    end.add_argument("--echo", action="store_true", help="the default")
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument("--dial-after-accept", action="store_true", help="the default, as C# [S]")
    answer.add_argument("--accept-after-dial", action="store_true", help="as the C sample [S]")
    answer.add_argument("--reject", action="store_true")
    answer.add_argument("--silent", action="store_true", help="never answer an offer")
    parser.add_argument(
        "--gateway-subprotocol", help="offer it at the gateway, as the C sample offers MQTT [S]"
    )
    parser.add_argument("--early-bytes", default="", help="sent at once after joining the gateway")
    parser.add_argument("--fragment", type=int, metavar="N", help="send messages in frames of N bytes")
    parser.add_argument("--ping", action="store_true", help="ping the gateway all the while and want pongs")
    parser.add_argument("--end-after", type=int, metavar="N", help="end the stream when N bytes were echoed")
    parser.add_argument("--no-close", action="store_true", help="end a stream without a close frame")
    parser.add_argument("--copy-close", action="store_true", help="answer a Close with a copy of it")
    parser.add_argument("--count", type=int, default=0, help="leave after that many offers")
    return parser.parse_args()


@dataclass(frozen=True)
class Offer:
    """A stream request (section 2.3)."""

    name: str
    rid: str
    url: str
    token: str

    @classmethod
    def parse(cls, message: mqtt.MQTTMessage) -> "Offer":
        """Split the topic as C# does, within the bounds that C and C# put on it [S]."""
        require(message.qos == 0, f"an offer has QoS {message.qos} [S]")
        require(not message.retain, "an offer is retained [S]")
        require(not message.dup, "an offer is a duplicate at QoS 0")
        require(message.payload == b"", f"an offer has a payload of {len(message.payload)} bytes [S]")
        parts = message.topic.split("/")
        require(len(parts) == 5, f"the topic {message.topic!r} has {len(parts)} parts, C# wants 5 [S]")
        require(parts[:3] == ["$iothub", "streams", "POST"], f"the topic begins {parts[:3]} [S][I]")
        require(parts[3], "the stream has no name")
        require(parts[4].startswith("?"), f"the properties {parts[4]!r} lack the '?' [I]")
        pairs = [pair.partition("=") for pair in parts[4][1:].split("&")]
        properties = {key: value for key, _, value in pairs}
        require(len(properties) == len(pairs), "a property came twice")
        require(
            set(properties) == {"$rid", "$url", "$auth"}, f"the properties are {sorted(properties)} [S][I]"
        )
        rid, url, token = properties["$rid"], properties["$url"], properties["$auth"]
        require(1 <= len(rid) <= 6, f"rid {rid!r}: C holds 6 characters [S]")
        require(PERCENT_UPPER.fullmatch(url), f"$url {url!r} is not percent-encoded in upper-case hex [I]")
        require(token, "the token is empty [S]")
        return cls(name=parts[3], rid=rid, url=unquote(url), token=token)


class Device:
    """One MQTT session, and a task for each stream."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.credential = Credential.read(options.connection_string_file)
        self.tls = trusting(options.ca_file)
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.streams: set[asyncio.Task[None]] = set()
        self.offers = 0
        self.unacknowledged: set[int] = set()
        self.stopping = False
        self.client = self.mqtt_client()

    def mqtt_client(self) -> mqtt.Client:
        """Client id, username and password as section 2.1 has them [D][S][M]."""
        device, module = self.credential.device, self.credential.module
        identity = f"{device}/{module}" if module else device
        scope = f"{self.credential.host}/devices/{device}" + (f"/modules/{module}" if module else "")
        product = quote("iotstream-witness/1 (python)", safe="")
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=identity,
            clean_session=False,  # flags 0xC0 [M]
            transport="websockets" if self.options.transport == "websocket" else "tcp",
            reconnect_on_failure=False,
        )
        client.username_pw_set(
            f"{self.credential.host}/{identity}/?api-version={API_VERSION}&DeviceClientType={product}",
            sas(quote(scope, safe=""), self.credential, "docs"),
        )
        client.tls_set_context(self.tls)
        client.ws_set_options(path=MQTT_PATH)
        client.on_connect = self.on_connect
        client.on_subscribe = self.on_subscribe
        client.on_message = self.on_message
        client.on_disconnect = self.on_disconnect
        return client

    # paho calls these four in its own thread; each hands over to the event loop.

    def on_connect(self, _client, _userdata, _flags, reason, _properties) -> None:
        self.call(self.connected, reason)

    def on_subscribe(self, _client, _userdata, mid, reasons, _properties) -> None:
        self.call(self.subscribed, mid, [reason.value for reason in reasons])

    def on_message(self, _client, _userdata, message) -> None:
        self.call(self.offered, message)

    def on_disconnect(self, _client, _userdata, _flags, reason, _properties) -> None:
        self.call(self.disconnected, reason)

    def call(self, function: Callable[..., None], *values: object) -> None:
        def guarded() -> None:
            try:
                function(*values)
            except Violation as violation:
                self.finish(violation)

        self.loop.call_soon_threadsafe(guarded)

    def finish(self, error: BaseException | None = None) -> None:
        if self.done.done():
            return
        if error:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)

    def connected(self, reason: ReasonCode) -> None:
        require(not reason.is_failure, f"CONNACK says {reason}")
        filters = [(OFFERS, 0), (ANSWERS, 0)]
        for group in [[one] for one in filters] if self.options.subscribe_apart else [filters]:
            _, mid = self.client.subscribe(group)
            self.unacknowledged.add(mid)

    def subscribed(self, mid: int, granted: list[int]) -> None:
        require(mid in self.unacknowledged, f"SUBACK for {mid}, which nobody sent")
        require(granted == [0] * (1 if self.options.subscribe_apart else 2), f"SUBACK grants {granted}")
        self.unacknowledged.discard(mid)
        if not self.unacknowledged:
            print("ready", flush=True)

    def disconnected(self, reason: ReasonCode) -> None:
        if not self.stopping:
            self.finish(Violation(f"the MQTT connection was lost: {reason}"))

    def offered(self, message: mqtt.MQTTMessage) -> None:
        offer = Offer.parse(message)
        self.offers += 1
        task = self.loop.create_task(self.serve(offer))
        self.streams.add(task)
        task.add_done_callback(self.served)

    def served(self, task: asyncio.Task[None]) -> None:
        self.streams.discard(task)
        if not task.cancelled() and task.exception():
            self.finish(task.exception())
        elif self.options.count and self.offers >= self.options.count and not self.streams:
            self.finish()

    def answer(self, status: int, offer: Offer) -> None:
        self.client.publish(f"$iothub/streams/res/{status}/?$rid={offer.rid}", qos=0)  # section 2.4 [S][M]

    async def serve(self, offer: Offer) -> None:
        if self.options.silent:
            return
        if self.options.reject:
            return self.answer(400, offer)
        if not self.options.accept_after_dial:
            self.answer(200, offer)
        socket = await join(
            offer.url,
            offer.token,
            self.tls,
            offer_deflate=False,
            subprotocol=self.options.gateway_subprotocol,
            copy_close=self.options.copy_close,
        )
        if self.options.accept_after_dial:
            self.answer(200, offer)
        pinging = self.loop.create_task(self.ping(socket)) if self.options.ping else None
        try:
            if self.options.early_bytes:
                await self.send(socket, self.options.early_bytes.encode())
            await (self.bridge(socket) if self.options.target else self.echo(socket))
        except ConnectionClosed:
            pass  # the gateway ends one side when the other goes [D]
        finally:
            if pinging:
                pinging.cancel()
        if self.options.no_close:
            await vanish(socket)
        else:
            await socket.close()

    async def ping(self, socket: ClientConnection) -> None:
        try:
            while True:
                await asyncio.wait_for(await socket.ping(), 10)
                await asyncio.sleep(0.02)
        except TimeoutError:
            self.finish(Violation("the gateway did not answer a ping in 10 s (RFC 6455)"))
        except ConnectionClosed:
            return

    async def send(self, socket: ClientConnection, chunk: bytes) -> None:
        size = self.options.fragment
        if size and chunk:
            await socket.send([chunk[i : i + size] for i in range(0, len(chunk), size)])
        else:
            await socket.send(chunk)

    async def echo(self, socket: ClientConnection) -> None:
        echoed, limit = 0, self.options.end_after
        async for chunk in received(socket):
            await self.send(socket, chunk if limit is None else chunk[: limit - echoed])
            echoed += len(chunk)
            if limit is not None and echoed >= limit:
                return

    async def bridge(self, socket: ClientConnection) -> None:
        """Bridge to a TCP target; either end's end is the stream's end [D]: there is no half-close [M]."""
        host, _, port = self.options.target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))

        async def upload() -> None:
            while chunk := await reader.read(16_384):
                await self.send(socket, chunk)

        async def download() -> None:
            async for chunk in received(socket):
                writer.write(chunk)
                await writer.drain()

        try:
            await first_of(upload(), download())
        finally:
            writer.close()

    async def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.finish)
        if self.options.transport == "websocket":
            for offered in ("mqtt", "MQTT"):
                await self.probe_subprotocol(offered)
        port = self.credential.port if self.options.transport == "websocket" else self.options.mqtt_port
        await asyncio.to_thread(self.client.connect, self.credential.host, port, 60)
        self.client.loop_start()
        try:
            await self.done
        finally:
            self.stopping = True
            self.client.disconnect()
            await asyncio.to_thread(self.client.loop_stop)

    async def probe_subprotocol(self, offered: str) -> None:
        """The hub echoes the subprotocol as offered, in either case [S]; paho does not look."""
        uri = f"wss://{self.credential.host}:{self.credential.port}{MQTT_PATH}"
        try:
            async with connect(
                uri, ssl=self.tls, subprotocols=[offered], proxy=None, compression=None
            ) as socket:
                require(
                    socket.subprotocol == offered, f"offered {offered}, was answered {socket.subprotocol}"
                )
        except InvalidHandshake as error:
            raise Violation(f"MQTT over WebSocket, offering {offered}: {error!r}") from error


async def first_of(*works: Awaitable[None]) -> None:
    """Run all until one ends; the others are cancelled, an error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


async def play() -> int:
    try:
        await Device(arguments()).run()
        return 0
    except (Violation, OSError) as error:
        report_violation(error)
        return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(play()))
