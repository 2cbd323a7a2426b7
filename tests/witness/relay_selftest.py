"""Runs relay_service.py, relay_listener.py and relay_sender.py against one another before they may testify.

With --emulator, the sender and the listener testify on `iotstream emulator` instead. Exit status 0 when every case
passed; bounded in time.
"""

import argparse
import asyncio
import base64
import uuid
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import relay_party
import relay_service_token
from cases import run
from relay_stage import ENTITY, NESTED, OPEN, OPTIONS, stage
from relay_stream import BINARY, DotnetStream, End

ALL_TIME = 300  # seconds
MEBIBYTE = 1 << 20
CUT = {"cut": True}

# Section 2.2: the encoded URI's signature with the key's text `a2V5`, which is not decoded.
VECTORS = (
    ("http://ns.servicebus.windows.net:443/hyco", "pksFmAmfdUugOe4E7X/HlaMi/Ym6lZVamIL8DH90D5U="),
    ("http://ns.servicebus.windows.net/hyco/", "zeP8z9Zd/F12tLdeCRzCYmdKN0Cwwnty95a5XwwTNm0="),
    ("http://ns.servicebus.windows.net/", "H82BUbRfXCaUHA/Ab1WZBz1gS2XqWE60kI9QgPAZFis="),
)


def agree(sender: dict[str, object], listener: dict[str, object]) -> None:
    """Each end got what the other one sent."""
    for one, other in ((sender, listener), (listener, sender)):
        assert one["received"] == other["sent"], (sender, listener)
        assert one["receivedSha256"] == other["sentSha256"], (sender, listener)


async def vectors_of_the_document() -> None:
    for audience, expected in VECTORS:
        resource = quote(audience, safe="")
        assert relay_party.sign(resource, "1795394289", "a2V5") == expected, audience
        assert relay_service_token.signature(resource, "1795394289", "a2V5") == expected, audience
        decoded = base64.b64decode("a2V5").decode()
        assert relay_party.sign(resource, "1795394289", decoded) != expected, "the key was decoded"
    # The documentation's form: lower-case escapes, and another order of the fields [P].
    token = relay_party.sas(
        "http://contoso.servicebus.windows.net/hyco/", "SasKeyName", "a2V5", 1471633754, lower=True
    )
    assert token.startswith(
        "SharedAccessSignature sr=http%3a%2f%2fcontoso.servicebus.windows.net%2fhyco%2f&sig="
    )
    assert token.endswith("%3d&se=1471633754&skn=SasKeyName"), token


async def every_form_of_a_token() -> None:
    async with stage() as it:
        await it.listener("--audience", "namespace", "--token-in", "query", "--do", "text:hello shutdown end")
        for audience in relay_party.AUDIENCES:
            sender = await it.sender("--audience", audience, "--do", "wait:5 shutdown end")
            assert (await sender.event("done"))["messages"] == [["text", 5]]
        for order in ("sig se skn sr", "skn sr se sig"):
            forms = ("--token-order", order, "--lower-escapes", "--token-in", "query", "--no-action")
            await it.sender(*forms, "--do", "end shutdown")


async def tokens_that_do_not_serve() -> None:
    async with stage("--skew", 0) as it:
        await it.listener()
        await it.refused(401, "", "--token-in", "nowhere")
        await it.refused(401, "", "--token-life", -5)
        wrong = it.directory / "relay" / "wrong.conn"
        text = (it.directory / "relay" / "send.conn").read_text()
        wrong.write_text(text.replace("SharedAccessKey=", "SharedAccessKey=a"))
        for text in ("token", ENTITY):  # demanded [C]
            await it.refused(401, text, file="wrong.conn")
        for text in ("Endpoint does not exist", "nobody"):  # demanded [C]
            await it.refused(404, text, entity="nobody")
        await it.refused(403, "", file=f"{ENTITY}.listen.conn")
        await it.refused(404, "", entity=NESTED)
        await it.listener(entity=OPEN)
        await it.sender("--token-in", "nowhere", "--do", "shutdown end", entity=OPEN)
        await it.listener("--token-in", "nowhere", entity=OPEN, status=3)


async def suffix_query_and_headers() -> None:
    async with stage() as it:
        listener = await it.listener("--count", 1, entity=NESTED)
        ident = str(uuid.uuid4())
        await it.sender(
            *("--suffix", "ssh/é", "--query", "x=1&y=%2F", "--id", ident, "--header", "X-Odd-Case: Ünd"),
            *("--subprotocol", "first", "--subprotocol", "second", "--do", "shutdown end"),
            entity=NESTED,
        )
        offer = await listener.event("offer")
        assert offer["path"] == f"/$hc/{NESTED}/ssh/%C3%A9", offer
        assert offer["query"][:2] == ["x=1", "y=%2F"], offer
        assert offer["id"].startswith(f"{ident}_G"), offer
        assert "X-Odd-Case" in offer["headers"] and not offer["token"], offer
        await listener.end()


async def rejections() -> None:
    for encoding in ((), ("--reject-plus",)):
        async with stage() as it:
            listener = await it.listener("--reject", "403:no target + named x", *encoding, "--count", 1)
            await it.refused(403, "no target + named x")
            assert (await listener.event("rejected"))["status"] == 410
            await listener.end()


async def addresses_serve_once() -> None:
    async with stage("--keep-token") as it:
        listener = await it.listener("--accept-twice", "--count", 1)
        await it.sender("--do", "shutdown end")
        assert (await listener.event("again"))["status"] == 403
        assert (await listener.event("offer"))["token"]
        await listener.end()


async def steering() -> None:
    async with stage() as it:
        ident = str(uuid.uuid4())
        chosen = await it.listener("--id", ident)
        await it.listener("--reject", "400:the wrong one")
        for _ in range(4):
            header = f"Microsoft-Relay-AllowedListeners: {ident.upper()}"
            await it.sender("--header", header, "--do", "shutdown end")
        await it.refused(400, "wrong one", "--header", f"Microsoft-Relay-DisallowedListeners:{ident}")
        await it.refused(
            404, "AllowedListeners", "--header", f"Microsoft-Relay-AllowedListeners:{uuid.uuid4()}"
        )
        assert len(chosen.events("offer")) == 4


async def half_close_in_every_order() -> None:
    """Between ends of .NET's kind nothing is lost, whoever ends first."""
    size = 4 * MEBIBYTE
    orders = (
        (f"send:{size} shutdown end", f"send:{size} end shutdown"),
        (f"send:{size} end shutdown", f"send:{size} shutdown end"),
        (f"send:{size} shutdown end", f"end send:{size} shutdown"),
        (f"end send:{size} shutdown", f"send:{size} shutdown end"),
        (f"send:{size} shutdown end", f"send:{size} shutdown end"),
        ("shutdown end", f"end send:{size} shutdown"),
        (f"send:{size} close:1000: end", "end close:1000:CloseAsync"),
    )
    for fragment in ((), ("--fragment", 1000)):
        async with stage(*fragment) as it:
            for ours, theirs in orders:
                listener = await it.listener("--count", 1, "--do", theirs)
                sender = await it.sender("--do", ours)
                agree(await sender.event("done"), await listener.event("done"))
                await listener.end()


async def types_and_borders_of_messages() -> None:
    """A message of up to 100 bytes is one message at the other end, of the same type [A][C]."""
    async with stage() as it:
        for kind in ("dotnet", "ws"):
            listener = await it.listener(
                "--count", 1, "--kind", kind, "--do", "wait:7 text:bye binary:now end shutdown"
            )
            sender = await it.sender("--kind", kind, "--do", "binary:abc text:defg wait:6 shutdown end")
            assert (await listener.event("done"))["messages"] == [["binary", 3], ["text", 4]]
            assert (await sender.event("done"))["messages"] == [["text", 3], ["binary", 3]]
            await listener.end()


async def library_peers_answer_at_once() -> None:
    async with stage() as it:
        size = MEBIBYTE
        listener = await it.listener("--kind", "ws", "--count", 1, "--do", f"end send:{size} shutdown")
        sender = await it.sender("--do", "shutdown end")
        done = await listener.event("done")
        assert done["refusedToSend"] and done["sent"] == 0, done
        assert (await sender.event("done"))["end"]["code"] == 1000
        await listener.end()

        listener = await it.listener("--sink", "echo", "--count", 1)
        sender = await it.sender("--kind", "ws", "--do", f"send:{size} wait:{size} close:1000:done end")
        agree(await sender.event("done"), await listener.event("done"))
        await listener.end()


async def cuts_and_odd_closes() -> None:
    async with stage() as it:
        for steps, expected in (
            ("send:1000 close:1001:leaving end", {"code": 1001, "reason": "leaving"}),
            ("send:1000 close:4000: end", {"code": 4000, "reason": ""}),
            ("send:1000 wait:2 drop", CUT),
        ):
            listener = await it.listener("--count", 1, "--do", "binary:go end shutdown")
            await it.sender("--do", steps)
            assert (await listener.event("done"))["end"] == expected, steps
            await listener.end()
        await it.listener("--do", "wait:3 drop")
        sender = await it.sender("--do", "binary:abc end")
        assert (await sender.event("done"))["end"] == CUT


async def a_close_answered_per_hop_loses_bytes() -> None:
    size = 4 * MEBIBYTE
    async with stage("--per-hop-close") as it:
        listener = await it.listener("--count", 1, "--do", f"end send:{size} shutdown")
        sender = await it.sender("--do", "send:1000 shutdown end")
        done = await sender.event("done")
        assert (done["received"], done["end"]) == (0, {"code": 1000, "reason": "Shutdown"}), done
        done = await listener.event("done")
        assert (done["sent"], done["received"], done["refusedToSend"]) == (size, 1000, False), done
        await listener.end()


async def control_channel() -> None:
    async with stage("--unknown-messages", "--http-requests", "--skew", 1) as it:
        kept = await it.listener("--renew", 0.3, "--token-life", 1, "--ping", 0.3)
        lost = await it.listener("--token-life", 1, entity=NESTED)
        await lost.end(5)
        assert (await lost.event("closed"))["code"] == 1008
        await kept.event("unknown")
        await kept.event("renewed", 8)
        await it.sender("--do", "shutdown end")
        await kept.stop()

        wrong = await it.listener("--renew", 0.1, "--renew-wrong")
        await wrong.end(5)
        assert (await wrong.event("closed"))["code"] == 1008


async def at_most_25_listeners() -> None:
    async with stage() as it:
        listeners = [await it.listener() for _ in range(25)]
        beyond = await it.listener(status=3)
        assert (await beyond.event("refused"))["status"] >= 400  # which, is not known
        await listeners[0].stop()
        await it.listener()


async def preambles() -> None:
    async with stage() as it:
        for ours, theirs in (("dotnet", "dotnet"), ("ws", "ws")):
            listener = await it.listener("--preamble", "22,ssh", "--kind", theirs, "--sink", "echo")
            for name in ("22", "ssh"):
                steps = "send:100000 wait:100000 shutdown end"
                sender = await it.sender("--preamble", name, "--kind", ours, "--do", steps)
                assert (await sender.event("done"))["received"] == 100000
            sender = await it.sender("--preamble", "23", "--kind", ours, status=4)
            assert "1000" in (await sender.event("unanswered"))["end"]
            await listener.stop()


async def stdio_to_target() -> None:
    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.write_eof()
        writer.close()

    async with stage() as it:
        server = await asyncio.start_server(upper, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await it.listener("--sink", f"tcp:{port}", "--do", "tcp shutdown end")
        steps = ("--sink", "stdout", "--do", "stdin shutdown end")
        sender = await it.start("relay_sender.py", *it.identity("send.conn"), "--entity", ENTITY, *steps)
        assert await sender.end(stdin=b"abc" * 100_000) == b"ABC" * 100_000


async def breaches_are_seen() -> None:
    """A sender that breaks a rule is noticed, by the service and, where it shows, by the listener."""

    async def empty_message(stream: DotnetStream) -> None:
        await stream.write(BINARY, b"")

    async def unmasked_frame(stream: DotnetStream) -> None:
        stream.writer.write(bytes([0x80 | BINARY, 1, 65]))
        assert await stream.receive() == End()

    async def data_after_close(stream: DotnetStream) -> None:
        await stream.shutdown(1000, "Shutdown")
        await stream.write(BINARY, b"late")

    for breach, status in ((empty_message, 1), (unmasked_frame, 0), (data_after_close, 0)):
        async with stage(violations=1) as it:
            listener = await it.listener("--count", 1, "--do", "end")
            named = (*it.identity("send.conn"), "--entity", ENTITY)
            party = relay_party.Party(relay_party.arguments("").parse_args([*map(str, named)]))
            url, headers = party.request("connect")
            stream = await DotnetStream.dial(url, headers, party.tls)
            await breach(stream)
            if status == 0:
                stream.drop()
            await listener.end(status)


# Those that testify on the service.
CASES: tuple[Callable[[], Awaitable[None]], ...] = (
    every_form_of_a_token,
    tokens_that_do_not_serve,
    suffix_query_and_headers,
    rejections,
    addresses_serve_once,
    steering,
    half_close_in_every_order,
    types_and_borders_of_messages,
    library_peers_answer_at_once,
    cuts_and_odd_closes,
    a_close_answered_per_hop_loses_bytes,
    control_channel,
    at_most_25_listeners,
    preambles,
    stdio_to_target,
)
# Those that only the witnesses take part in.
OWN_CASES = (vectors_of_the_document, breaches_are_seen)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="*", help="these alone")
    parser.add_argument("--emulator", metavar="PROGRAM")
    return parser.parse_args(namespace=OPTIONS)


if __name__ == "__main__":
    given = options()
    cases = CASES if given.emulator else (*CASES, *OWN_CASES)
    run([case for case in cases if not given.case or case.__name__ in given.case], ALL_TIME)
