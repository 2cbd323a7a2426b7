"""The programs of relay_selftest.py: a namespace, its senders and its listeners, all ended with their case."""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).parent
ONE_STEP = 60  # seconds
ENTITY, NESTED, OPEN = "dev-1", "factory/hall_2/dev-2", "open"
OPTIONS = argparse.Namespace(emulator=None, case=[])  # of the command line


class Program:
    """A running witness and the events that it has reported."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name, self.process = name, process
        self.lines: list[str] = []
        self.changed = asyncio.Condition()
        self.reading = asyncio.create_task(self.read())

    @classmethod
    async def start(cls, *command: object) -> "Program":
        """A witness, or a program by its path."""
        name, *arguments = map(str, command)
        witness = (sys.executable, HERE / name) if name.endswith(".py") else (name,)
        process = await asyncio.create_subprocess_exec(
            *witness,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return cls(name, process)

    async def read(self) -> None:
        while line := await self.process.stderr.readline():
            async with self.changed:
                self.lines.append(line.decode().rstrip())
                self.changed.notify_all()

    async def wait_ready(self) -> "Program":
        async with asyncio.timeout(ONE_STEP):
            ready = (await self.process.stdout.readline()).decode()
            if not ready:
                await self.reading
        assert ready.startswith("ready"), f"{self.name} said {ready!r} and {self.lines}"
        return self

    def events(self, name: str) -> list[dict[str, object]]:
        events = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [event for event in events if event["event"] == name]

    async def event(self, name: str, count: int = 1) -> dict[str, object]:
        """The first event of that name, once there are `count` of them."""
        try:
            async with asyncio.timeout(ONE_STEP), self.changed:
                await self.changed.wait_for(lambda: len(self.events(name)) >= count)
        except TimeoutError:
            raise AssertionError(f"{self.name} never reported {name}: {self.lines}") from None
        return self.events(name)[0]

    async def end(self, expected: int = 0, stdin: bytes = b"") -> bytes:
        async with asyncio.timeout(ONE_STEP):
            self.process.stdin.write(stdin)
            self.process.stdin.close()
            output = await self.process.stdout.read()
            await self.process.wait()
            await self.reading
        status = self.process.returncode
        assert status == expected, f"{self.name} ended with {status}: {self.lines}"
        return output

    async def stop(self, expected: int = 0) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await self.end(expected)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


class Stage:
    def __init__(self, directory: Path, exits: AsyncExitStack) -> None:
        self.directory, self.exits = directory, exits

    async def start(self, name: str, *arguments: object) -> Program:
        program = await Program.start(name, *arguments)
        self.exits.push_async_callback(program.kill)
        return program

    def identity(self, file: str) -> tuple[object, ...]:
        path = self.directory / "relay" / file
        return "--connection-string-file", path, "--ca-file", self.directory / "ca.pem"

    async def listener(self, *arguments: object, entity: str = ENTITY, status: int | None = None) -> Program:
        file = f"{quote(entity, safe='')}.listen.conn"
        program = await self.start("relay_listener.py", *self.identity(file), *arguments)
        if status is None:
            return await program.wait_ready()
        await program.end(status)
        return program

    async def sender(
        self, *arguments: object, entity: str = ENTITY, file: str = "send.conn", status: int = 0
    ) -> Program:
        named = () if "listen" in file else ("--entity", entity)
        program = await self.start("relay_sender.py", *self.identity(file), *named, *arguments)
        await program.end(status)
        return program

    async def refused(self, status: int, text: str, *arguments: object, **keywords: object) -> None:
        sender = await self.sender(*arguments, status=3, **keywords)
        refusal = await sender.event("refused")
        assert (refusal["status"], text in refusal["reason"]) == (status, True), refusal


# An option of relay_service.py as the emulator's `--inject` has it; one that has no fault there is left out.
INJECTED = {
    "--keep-token": "relay-token=kept",
    "--per-hop-close": "relay-close=echo",
    "--unknown-messages": "relay-message=unknown",
    "--fragment": None,
    "--http-requests": None,
}


def emulator_arguments(arguments: tuple[object, ...]) -> list[object]:
    faults = [
        f"relay-skew={arguments[at + 1]}s" if argument == "--skew" else INJECTED.get(argument)
        for at, argument in enumerate(arguments)
    ]
    faults = [fault for fault in faults if fault]
    return ["--inject", ",".join(faults)] if faults else []


@asynccontextmanager
async def stage(*arguments: object, violations: int = 0) -> AsyncIterator[Stage]:
    """A namespace: relay_service.py with these arguments, or the emulator with what stands for them there."""
    async with AsyncExitStack() as exits:
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        it = Stage(directory, exits)
        if emulator := OPTIONS.emulator:
            free = ("--listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--dir", directory)
            served = ("--relay-entity", ENTITY, NESTED, "--relay-anonymous", OPEN)
            service = await it.start(
                emulator, "emulator", "-vv", *free, *served, *emulator_arguments(arguments)
            )
        else:
            served = ("--entity", ENTITY, NESTED, "--anonymous", OPEN)
            service = await it.start("relay_service.py", "--dir", directory, *arguments, *served)
        await service.wait_ready()
        yield it
        await service.stop(violations)
