"""What both ends of a stream do alike: read a connection string, mint a token, join the gateway.

Used by device.py and service.py. hub.py does not import it: the two sides are meant to disagree when one is wrong.
The marks are those of the protocol document: [S] SDK source, [D] documentation, [I] issue, [M] capture, [~] inferred.
"""

import base64
import hashlib
import hmac
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.frames import Frame, Opcode

LARGEST_FRAME = 65_536  # [S][I] C proxy sample: the real gateway cuts the connection above it
OWN_PROTOCOL_CLOSES = {1002, 1003, 1007, 1009}  # what this side sends when the peer broke RFC 6455


class Violation(Exception):
    """The other side broke a rule of the protocol document."""


def report_violation(text: object) -> None:
    print(f"violation: {text}", file=sys.stderr, flush=True)


def require(rule: object, text: str) -> None:
    if not rule:
        raise Violation(text)


@dataclass(frozen=True)
class Credential:
    """A service or device connection string [S]: pairs split at ';', then at the first '='."""

    host: str
    port: int
    key: str
    policy: str | None
    device: str | None
    module: str | None

    @classmethod
    def read(cls, path: Path) -> "Credential":
        pairs = dict(part.split("=", 1) for part in path.read_text().strip().split(";") if part)
        host, _, port = pairs["HostName"].partition(":")
        return cls(
            host=host,
            port=int(port or 443),
            key=pairs["SharedAccessKey"],
            policy=pairs.get("SharedAccessKeyName"),
            device=pairs.get("DeviceId"),
            module=pairs.get("ModuleId"),
        )


def sign(resource: str, expiry: str, key: str) -> str:
    """HMAC-SHA256 over the resource, one LF and the expiry [D][S]."""
    mac = hmac.digest(base64.b64decode(key), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    return base64.b64encode(mac).decode()


def sas(resource: str, credential: Credential, order: str) -> str:
    """A token over the resource exactly as written [S][D]; Node puts skn before se, the others after it [S][M]."""
    expiry = str(int(time.time()) + 3600)
    signature = quote(sign(resource, expiry, credential.key), safe="")
    fields = [f"sr={resource}", f"sig={signature}", f"se={expiry}"]
    if credential.policy:
        fields.insert(2 if order == "node" else 3, f"skn={credential.policy}")
    return "SharedAccessSignature " + "&".join(fields)


def trusting(ca_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # [D] the hub's TLS floor
    return context


async def join(
    url: str,
    token: str,
    tls: ssl.SSLContext,
    *,
    offer_deflate: bool,
    subprotocol: str | None = None,
    copy_close: bool = False,
) -> ClientConnection:
    """Join the gateway with a bearer token [S]; nothing may be negotiated but a subprotocol that was offered [S][M]."""
    require(url.startswith("wss://"), f"gateway URL {url!r} is not wss [S]")
    try:
        socket = await connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"},
            ssl=tls,
            compression="deflate" if offer_deflate else None,
            subprotocols=[subprotocol] if subprotocol else None,
            max_size=None,
            write_limit=(1, 0),  # asyncio loses TLS data unsent at close
            proxy=None,
            ping_interval=None,
            open_timeout=10,
            close_timeout=5,
        )
    except (InvalidHandshake, TimeoutError) as error:
        raise Violation(f"gateway handshake: {error!r}") from error
    require("Sec-WebSocket-Extensions" not in socket.response.headers, "compression was negotiated [M]")
    if not copy_close:
        answer_close_with_its_code(socket)
    return socket


def answer_close_with_its_code(socket: ClientConnection) -> None:
    """Answer a Close without its reason. The library answers with a copy, which looks like the Close thrown back."""
    send = socket.protocol.send_frame

    def send_without_copy(frame: Frame) -> None:
        is_answer = frame.opcode is Opcode.CLOSE and socket.protocol.close_rcvd is not None
        send(Frame(Opcode.CLOSE, frame.data[:2]) if is_answer else frame)

    socket.protocol.send_frame = send_without_copy


async def received(socket: ClientConnection) -> AsyncIterator[bytes]:
    """The payload of each data frame until the gateway ends the stream; borders carry no meaning [S]."""
    try:
        while True:
            async for part in socket.recv_streaming():
                require(isinstance(part, bytes), "a text frame came from the gateway [S]")
                require(
                    len(part) <= LARGEST_FRAME, f"a frame of {len(part)} bytes came from the gateway [S][I]"
                )
                yield part
    except ConnectionClosed as closed:
        own = closed.sent is not None and closed.rcvd_then_sent is not True
        if own and closed.sent.code in OWN_PROTOCOL_CLOSES:
            raise Violation(f"the gateway broke RFC 6455: {closed.sent}") from closed


async def vanish(socket: ClientConnection) -> None:
    """Drop the connection without a close frame, as C#'s Dispose does [S]; what was sent still goes out."""
    socket.transport.close()
    await socket.wait_closed()
