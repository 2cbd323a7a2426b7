"""A service that asks a hub for a stream to a device and checks every byte of the answer.

Exit status: 0 done, 1 a violation or a failed check, 3 the device rejected, 4 the hub answered with an error.
For 3 and 4 one JSON object on stdout says what the hub said.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import os
import random
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from party import (
    LARGEST_FRAME,
    Credential,
    Violation,
    join,
    received,
    report_violation,
    require,
    sas,
    trusting,
)

REJECTED, REFUSED = 3, 4
SILENCE = 30.0  # seconds without a byte after which a check is given up

ENCODINGS: dict[str, Callable[[str], str]] = {
    "cs": lambda text: quote_plus(text, safe="-_.!*()"),  # WebUtility.UrlEncode [S]
    "node": lambda text: quote(text, safe="-_.~"),  # strict component encoding [S]
    "raw": lambda text: text,  # C e2e [S]
}
TRACKING_ID = re.compile(r"[0-9A-Fa-f]{32}-G:\d+-TimeStamp:\d\d/\d\d/\d{4} \d\d:\d\d:\d\d")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SPAN = re.compile(r"\d\d:\d\d:\d\d")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connection-string-file", type=Path, required=True)
    parser.add_argument("--ca-file", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--module")
    parser.add_argument("--stream", required=True)
    parser.add_argument("--api-version", default="2020-09-30")
    parser.add_argument("--connect-timeout", default="30")
    parser.add_argument("--response-timeout", default="30")
    parser.add_argument("--encoding", choices=ENCODINGS, default="cs")
    parser.add_argument("--sas-order", choices=["docs", "node"], default="docs")
    parser.add_argument(
        "--offer-deflate", action="store_true", help="offer permessage-deflate, as Node's ws does [M]"
    )
    parser.add_argument(
        "--mode",
        default="stdio",
        help="stdio | echo-check:BYTES | ssh-banner | bulk:BYTES (send, discard what comes)",
    )
    return parser.parse_args()


def the_only(response: http.client.HTTPResponse, name: str) -> str | None:
    values = response.headers.get_all(name, [])
    require(len(values) <= 1, f"header {name} came {len(values)} times")
    return values[0] if values else None


def initiate(options: argparse.Namespace, credential: Credential) -> tuple[int, dict[str, object]]:
    """POST the stream request (section 1.1) and read the answer headers as Node does (1.4) [S].

    Gives (0, {url, token}), (REJECTED, …) or (REFUSED, …).
    """
    encode = ENCODINGS[options.encoding]
    # Neither a module id (C#) nor a stream name (all clients) is encoded [S].
    module = f"/modules/{options.module}" if options.module else ""
    path = (
        f"/twins/{encode(options.device)}{module}/streams/{options.stream}?api-version={options.api_version}"
    )
    patience = float(options.connect_timeout) + float(options.response_timeout) + 15  # C# adds 15 s [S]
    connection = http.client.HTTPSConnection(
        credential.host, credential.port, timeout=patience, context=trusting(options.ca_file)
    )
    connection.putrequest("POST", path, skip_accept_encoding=True)
    connection.putheader("iothub-streaming-connect-timeout-in-seconds", options.connect_timeout)
    connection.putheader("iothub-streaming-response-timeout-in-seconds", options.response_timeout)
    connection.putheader("Authorization", sas(credential.host, credential, options.sas_order))
    connection.putheader("Request-Id", str(uuid.uuid4()))
    connection.putheader("User-Agent", "iotstream-witness/1")
    connection.putheader("Content-Length", "0")  # bodyless [M]
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status != 200:
        return REFUSED, refusal(response, body)

    accepted = the_only(response, "iothub-streaming-is-accepted")
    url = the_only(response, "iothub-streaming-url")
    token = the_only(response, "iothub-streaming-auth-token")
    if accepted == "True":  # Node and the C test compare the exact text [S]
        require(url and token, "accepted, but the URL or the token is missing [S]")
        return 0, {"url": url, "token": token}
    require(accepted == "False", f"iothub-streaming-is-accepted is {accepted!r} [S]")
    require(url is None and token is None, "rejected, but with a URL or a token [S]")
    return REJECTED, {"accepted": False}


def refusal(response: http.client.HTTPResponse, body: bytes) -> dict[str, object]:
    """Parse an error body in each form that occurs in the wild (section 1.5) [I][S]."""
    outer = json.loads(body)
    require(set(outer) == {"Message", "ExceptionMessage"}, f"error body has the members {sorted(outer)} [I]")
    answer: dict[str, object] = {"status": response.status, "symbol": the_only(response, "iothub-errorcode")}
    message: str = outer["Message"]
    prefix, _, rest = message.partition(";")
    old = prefix.startswith("ErrorCode:")
    inner_text = rest if old else message
    if old:
        answer["symbolInBody"] = prefix.removeprefix("ErrorCode:")
    if not inner_text.startswith("{"):
        require(old, f"error message {message!r} has no known form [I]")
        tracking = outer["ExceptionMessage"].removeprefix("Tracking ID:")
        require(TRACKING_ID.fullmatch(tracking), f"tracking id {tracking!r} [I]")
        return answer | {"form": "old", "message": inner_text, "trackingId": tracking}

    inner = json.loads(inner_text)
    require(type(inner["errorCode"]) is int, "errorCode is not a number [I]")
    require(
        inner["errorCode"] // 1000 == response.status, f"{inner['errorCode']} came with {response.status} [D]"
    )
    require(TRACKING_ID.fullmatch(inner["trackingId"]), f"tracking id {inner['trackingId']!r} [I]")
    require(TIMESTAMP.fullmatch(inner["timestampUtc"]), f"timestampUtc {inner['timestampUtc']!r} [I]")
    require(
        "info" not in inner or SPAN.fullmatch(inner["info"]["timeout"]), f"info is {inner.get('info')} [I]"
    )
    return answer | {"form": "mixed" if old else "new"} | inner


async def send_random(socket: ClientConnection, total: int) -> str:
    """Send random bytes in frames of random sizes, the largest and the empty one among them; give the sha256."""
    digest = hashlib.sha256()
    sizes = [LARGEST_FRAME, 0, 1]
    while total > 0:
        size = min(total, sizes.pop(0) if sizes else random.randint(0, LARGEST_FRAME))
        chunk = os.urandom(size)
        digest.update(chunk)
        total -= size
        await socket.send(chunk)
    return digest.hexdigest()


async def arriving(socket: ClientConnection) -> AsyncIterator[bytes]:
    """The stream's bytes; silence for too long is a failed check."""
    stream = received(socket)
    while (chunk := await asyncio.wait_for(anext(stream, None), SILENCE)) is not None:
        yield chunk


async def echo_check(socket: ClientConnection, total: int) -> None:
    sending = asyncio.create_task(send_random(socket, total))
    digest, arrived = hashlib.sha256(), 0
    async for chunk in arriving(socket):
        digest.update(chunk)
        arrived += len(chunk)
        if arrived >= total:
            break
    require(arrived == total, f"{arrived} of {total} bytes came back")
    require(digest.hexdigest() == await sending, "the echo differs from what was sent")
    print(json.dumps({"echoed": arrived}), flush=True)


async def ssh_banner(socket: ClientConnection) -> None:
    seen = b""
    async for chunk in arriving(socket):
        seen += chunk
        if b"\n" in seen:
            break
    banner = seen.split(b"\n")[0].rstrip(b"\r").decode("ascii", "replace")
    require(banner.startswith("SSH-2.0-"), f"banner is {banner!r}")
    print(json.dumps({"banner": banner}), flush=True)


async def bulk(socket: ClientConnection, total: int) -> None:
    async def discard() -> None:
        async for _ in received(socket):
            pass

    discarding = asyncio.create_task(discard())
    start = time.monotonic()
    await send_random(socket, total)
    await socket.close()
    await discarding
    print(json.dumps({"sent": total, "seconds": round(time.monotonic() - start, 3)}), flush=True)


async def stdio(socket: ClientConnection) -> None:
    """Bridge stdin and stdout. There is no half-close [D][M]: the end of stdin ends the stream."""

    async def upload() -> None:
        while chunk := await asyncio.to_thread(os.read, 0, 16_384):
            await socket.send(chunk)
        await socket.close()

    uploading = asyncio.create_task(upload())
    async for chunk in received(socket):
        await asyncio.to_thread(sys.stdout.buffer.write, chunk)
        sys.stdout.buffer.flush()
    if not uploading.done():  # the thread sits in read(0), which nothing can cancel
        os._exit(0)
    await uploading


async def stream(options: argparse.Namespace) -> int:
    credential = Credential.read(options.connection_string_file)
    status, answer = await asyncio.to_thread(initiate, options, credential)
    if status:
        print(json.dumps(answer), flush=True)
        return status
    socket = await join(
        answer["url"], answer["token"], trusting(options.ca_file), offer_deflate=options.offer_deflate
    )
    name, _, size = options.mode.partition(":")
    modes = {"stdio": stdio, "echo-check": echo_check, "ssh-banner": ssh_banner, "bulk": bulk}
    await modes[name](socket, *([int(size)] if size else []))
    await socket.close()
    return 0


def main() -> int:
    try:
        return asyncio.run(stream(arguments()))
    except (Violation, ConnectionClosed, TimeoutError, OSError, ValueError, KeyError) as error:
        report_violation(repr(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
