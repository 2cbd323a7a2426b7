"""Runs hub.py, device.py and service.py against one another: the witnesses must agree before they may testify.

Exit status 0 when every case passed; bounded in time.
"""

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import hub_identity
import hub_mqtt
import hub_twin
import party
import service
from cases import run

HERE = Path(__file__).parent
ALL_TIME, ONE_STEP = 300, 60  # seconds
MEBIBYTE = 1 << 20
ODD_ID = "Line(3),Press+%23"  # legal [S]; a decoder that decodes twice takes it for another


class Program:
    """A running witness."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name, self.process = name, process
        self.ready = ""

    @classmethod
    async def start(cls, name: str, *arguments: object) -> "Program":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            HERE / name,
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(name, process)

    async def wait_ready(self) -> "Program":
        async with asyncio.timeout(ONE_STEP):
            self.ready = (await self.process.stdout.readline()).decode().strip()
        assert self.ready.startswith("ready"), f"{self.name} said {self.ready!r}"
        return self

    async def end(self, expected: int | None = 0) -> bytes:
        """Wait for the end, and for the given status; gives the rest of stdout."""
        async with asyncio.timeout(ONE_STEP):
            output, _ = await self.process.communicate()
        assert expected in (None, self.process.returncode), (
            f"{self.name} ended with {self.process.returncode}: {output!r}"
        )
        return output

    async def stop(self, expected: int | None = 0) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await self.end(expected)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


class Stage:
    """A hub with its devices and services, all ended with it."""

    def __init__(self, directory: Path, hub: Program, exits: AsyncExitStack) -> None:
        self.directory, self.hub, self.exits = directory, hub, exits
        self.devices: list[Program] = []
        self.mqtt_port = re.search(r"mqtts=127\.0\.0\.1:(\d+)", hub.ready)[1]

    async def start(self, name: str, *arguments: object) -> Program:
        program = await Program.start(name, *arguments)
        self.exits.push_async_callback(program.kill)
        return program

    async def stop_devices(self) -> None:
        for device in self.devices:
            if device.process.returncode is None:
                await device.stop()

    async def device(self, *arguments: object, identity: str = "dev-1") -> Program:
        connection = self.directory / "devices" / f"{quote(identity, safe='')}.conn"
        common = ("--connection-string-file", connection, "--ca-file", self.directory / "ca.pem")
        program = await self.start("device.py", *common, "--mqtt-port", self.mqtt_port, *arguments)
        self.devices.append(program)
        return await program.wait_ready()

    async def service(
        self,
        *arguments: object,
        device: str = "dev-1",
        status: int | None = 0,
        connection: Path | None = None,
    ) -> dict[str, object]:
        connection = connection or self.directory / "service.conn"
        common = (
            "--connection-string-file",
            connection,
            "--ca-file",
            self.directory / "ca.pem",
            "--device",
            device,
        )
        program = await self.start("service.py", *common, "--stream", "TestStream", *arguments)
        return json.loads(await program.end(status))

    async def service_fails(self, *arguments: object) -> None:
        common = (
            "--connection-string-file",
            self.directory / "service.conn",
            "--ca-file",
            self.directory / "ca.pem",
        )
        program = await self.start(
            "service.py", *common, "--device", "dev-1", "--stream", "TestStream", *arguments
        )
        await program.end(1)


@asynccontextmanager
async def stage(
    *arguments: object, devices: tuple[str, ...] = ("dev-1",), violations: int = 0
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as exits:
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        hub = await Program.start("hub.py", "--dir", directory, "--device", *devices, *arguments)
        exits.push_async_callback(hub.kill)
        it = Stage(directory, await hub.wait_ready(), exits)
        yield it
        await it.stop_devices()
        await hub.stop(violations)


async def echoes(stage: Stage, device: tuple[object, ...] = (), size: int = 4 * MEBIBYTE) -> None:
    program = await stage.device("--count", 1, *device)
    assert (await stage.service("--mode", f"echo-check:{size}"))["echoed"] == size
    await program.end()


async def both_transports() -> None:
    async with stage() as it:
        for transport in ("websocket", "mqtt"):
            await echoes(it, ("--transport", transport))
            await echoes(it, ("--transport", transport, "--subscribe-apart"), MEBIBYTE)


async def device_variants() -> None:
    async with stage() as it:
        await echoes(it, ("--accept-after-dial",), MEBIBYTE)
        await echoes(it, ("--fragment", 1000, "--ping"), MEBIBYTE)
        await echoes(it, ("--no-close", "--end-after", MEBIBYTE), MEBIBYTE)
        await echoes(it, ("--gateway-subprotocol", "MQTT"), MEBIBYTE)


async def mqtt_in_pieces() -> None:
    async with stage("--mqtt-fragment", 3) as it:
        await echoes(it, (), MEBIBYTE)


async def every_encoding_and_version() -> None:
    versions = ("2018-06-30", "2018-08-30-preview", "2018-10-20-preview", "2020-05-31-preview", "2020-09-30")
    for identity, encodings in ((ODD_ID, ("cs", "node")), ("dev-1", ("cs", "node", "raw"))):
        async with stage(devices=(identity,)) as it:
            await it.device(identity=identity)
            for encoding in encodings:
                for order in ("docs", "node"):
                    how = ("--encoding", encoding, "--sas-order", order, "--mode", "echo-check:1000")
                    await it.service(*how, device=identity)
            for version in versions:
                await it.service("--api-version", version, "--mode", "echo-check:1000", device=identity)


async def module_stream() -> None:
    async with stage(devices=("dev-1", "dev-1/mod")) as it:
        device = await it.device("--count", 1, identity="dev-1/mod")
        await it.service("--module", "mod", "--mode", "echo-check:1000")
        await device.end()


async def reject() -> None:
    async with stage() as it:
        device = await it.device("--reject", "--count", 1)
        assert await it.service(status=3) == {"accepted": False}
        await device.end()


async def refusals() -> None:
    """Each error of section 1.5, in each form of its body."""
    for form in ("new", "old", "mixed"):
        async with stage("--error-form", form, devices=("dev-1", "dev-2")) as it:

            async def refused(
                symbol: str, code: int, *arguments: object, form: str = form, **keywords: object
            ) -> None:
                answer = await it.service(*arguments, status=4, **keywords)
                assert (answer["form"], answer["symbol"]) == (form, symbol), answer
                assert answer.get("errorCode", code) == code and answer["status"] == code // 1000, answer

            await it.device("--silent", identity="dev-2")
            soon = ("--connect-timeout", 1, "--response-timeout", 1)
            await refused("DeviceNotFound", 404001, device="nobody")
            await refused("DeviceNotOnline", 404103, *soon)
            await refused("GatewayTimeout", 504101, *soon, device="dev-2")
            wrong = it.directory / "wrong.conn"
            wrong.write_text(
                re.sub(
                    r"SharedAccessKey=.*",
                    "SharedAccessKey=d3Jvbmc=",
                    (it.directory / "service.conn").read_text(),
                )
            )
            await refused("IotHubUnauthorized", 401003, connection=wrong)


async def comes_online_in_time() -> None:
    async with stage() as it:
        asking = asyncio.create_task(it.service("--connect-timeout", ONE_STEP, "--mode", "echo-check:1000"))
        device = await it.device("--count", 1)
        await asking
        await device.end()


async def banner_and_bulk() -> None:
    async with stage() as it:
        device = await it.device("--early-bytes", "SSH-2.0-witness\r\n", "--accept-after-dial", "--count", 2)
        assert (await it.service("--mode", "ssh-banner"))["banner"] == "SSH-2.0-witness"
        assert (await it.service("--mode", f"bulk:{MEBIBYTE}"))["sent"] == MEBIBYTE
        await device.end()


async def stdio_to_target() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello " + await reader.readline())
        writer.close()

    async with stage() as it, await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await it.device("--target", f"127.0.0.1:{port}")
        common = (
            "--connection-string-file",
            it.directory / "service.conn",
            "--ca-file",
            it.directory / "ca.pem",
        )
        service = await it.start("service.py", *common, "--device", "dev-1", "--stream", "ssh")
        service.process.stdin.write(b"world\n")
        await service.process.stdin.drain()
        async with asyncio.timeout(ONE_STEP):
            assert await service.process.stdout.read() == b"hello world\n"
        assert await service.process.wait() == 0


async def odd_gateways() -> None:
    for odd in (("--gateway-fragment", 1000), ("--gateway-url-query",), ("--no-close",)):
        async with stage(*odd) as it:
            await echoes(it, (), MEBIBYTE)


async def breaches_are_seen() -> None:
    """A witness that never objects proves nothing: these peers break a rule and must be told so."""
    async with stage("--gateway-text") as it:
        await it.device("--early-bytes", "ascii")
        await it.service_fails("--mode", "ssh-banner")
    async with stage("--accepted-case") as it:
        await it.device()
        await it.service_fails("--mode", "echo-check:1000")
    async with stage(violations=1) as it:
        await it.device()
        await it.service("--offer-deflate", "--mode", "echo-check:1000")
    for wrong in (("--response-timeout=-1",), ("--api-version", "1999-01-01"), ("--stream", "a/b")):
        async with stage(violations=1) as it:
            await it.service_fails(*wrong)


async def bad_frames_are_seen() -> None:
    """The hub counts the frame and relays it; the device that gets it objects as well."""
    for payload in ("text", bytes(party.LARGEST_FRAME + 1)):
        async with stage(violations=1) as it:
            device = await it.device()
            options = argparse.Namespace(
                device="dev-1",
                module=None,
                stream="TestStream",
                api_version="2020-09-30",
                encoding="cs",
                sas_order="docs",
                connect_timeout="5",
                response_timeout="5",
                ca_file=it.directory / "ca.pem",
            )
            credential = party.Credential.read(it.directory / "service.conn")
            _, answer = await asyncio.to_thread(service.initiate, options, credential)
            tls = party.trusting(options.ca_file)
            socket = await party.join(answer["url"], answer["token"], tls, offer_deflate=False)
            await socket.send(payload)
            await device.end(1)
            await socket.close()


async def bad_mqtt_is_seen() -> None:
    good = {"name": "MQTT", "level": 4, "flags": 0xC0, "keepalive": 60, "tail": b""}
    bad = (
        {"name": "MQIsdp"},
        {"level": 5},
        {"flags": 0xC4},
        {"flags": 0x80},
        {"keepalive": 1768},
        {"tail": b"x"},
    )

    def connect(name: str, level: int, flags: int, keepalive: int, tail: bytes) -> hub_mqtt.Packet:
        texts = [text.encode() for text in (name, "dev-1", "user", "password")]
        first, *rest = (len(text).to_bytes(2) + text for text in texts)
        body = first + bytes([level, flags]) + keepalive.to_bytes(2) + b"".join(rest) + tail
        return hub_mqtt.Packet(hub_mqtt.CONNECT, 0, body)

    hub_mqtt.parse_connect(connect(**good))
    for change in bad:
        objects(hub_mqtt.parse_connect, connect(**good | change))

    # The user name that Microsoft's C SDK sent [M], and what it must not become.
    product = "DeviceClientType=iothubclient%2f1.9.0%20(native%3b%20Linux%3b%20x86_64)"
    hub_mqtt.check_username(f"127.0.0.1/dev-1/?api-version=2020-09-30&{product}", {"127.0.0.1"}, "dev-1")
    for username in (
        f"127.0.0.1/dev-2/?api-version=2020-09-30&{product}",
        f"127.0.0.1/dev-1?api-version=2020-09-30&{product}",
        f"127.0.0.1/dev-1/?api-version=1999-01-01&{product}",
        "127.0.0.1/dev-1/?api-version=2020-09-30",
        f"127.0.0.1/dev-1/?api-version=2020-09-30&{product}&more=1",
    ):
        objects(hub_mqtt.check_username, username, {"127.0.0.1"}, "dev-1")


def objects(check: Callable[..., object], *arguments: object) -> None:
    try:
        check(*arguments)
    except hub_mqtt.Breach:
        return
    raise AssertionError(f"{check.__name__} let {arguments} pass")


async def twins_merge_and_misuse_is_seen() -> None:
    for target, patch, result in (  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "foo"}, "bar", "bar"),
    ):
        assert hub_twin.merge(target, patch) == result, (target, patch)
    twin = hub_twin.Twin("dev-1")
    assert twin.report(b'{"a":{"b":1},"c":"x"}') == 2
    assert json.loads(twin.get())["reported"] == {"a": {"b": 1}, "c": "x", "$version": 2}
    for payload in (
        b"",
        b"[]",
        b"{}",
        b'{"c":"x"}',
        b'{"a.b":1}',
        b'{"a":{"$b":1}}',
        b'{"a":[1]}',
        b'{"a":"' + b"x" * 4097 + b'"}',
        b'{"a":' * 11 + b"1" + b"}" * 11,
    ):
        try:
            twin.report(payload)
        except hub_twin.Misuse:
            continue
        raise AssertionError(f"a twin lets {payload!r} pass")


async def captured_tokens_verify() -> None:
    """The vectors of section 1.3 [M], minted by Microsoft's SDKs: signature over `sr` as received."""
    key = "MDEyMzQ1Njc4OWFiY2RlZg=="
    for resource, expiry, mac in (
        ("127.0.0.1", "1795396174", "9PDZJwm9mWGCdHfzMt6xcZNWYXv8lmpzqup6h2Ofs3A="),
        ("127.0.0.1/devices/dev-1", "1795395873", "MVrrSJOGOLUoAWHpIPYXAMTYkElciY/dkTQrdY4NGFc="),
        ("127.0.0.1/devices/dev-1", "1795396168", "gOgqgZlK3rNGOeHRia/9otL8ZdsT9gujELk7R4GDoQY="),
        ("127.0.0.1%2Fdevices%2Fdev-py", "1795396240", "7FjXyF4WLD2HDLFnZYzac4eoFyaGn//w3U/Lu6B0lmE="),
    ):
        assert party.sign(resource, expiry, key) == mac, resource
        assert hub_identity.sign(resource, expiry, key) == mac, resource


CASES: tuple[Callable[[], Awaitable[None]], ...] = (
    both_transports,
    device_variants,
    mqtt_in_pieces,
    every_encoding_and_version,
    module_stream,
    reject,
    refusals,
    comes_online_in_time,
    banner_and_bulk,
    stdio_to_target,
    odd_gateways,
    breaches_are_seen,
    bad_frames_are_seen,
    bad_mqtt_is_seen,
    twins_merge_and_misuse_is_seen,
    captured_tokens_verify,
)


if __name__ == "__main__":
    run(CASES, ALL_TIME)
