"""A user, a hub and a device, each in a network namespace of its own, and a leg from the hub to each of the others."""

import itertools
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from carrier import Impairment
from expect import Failure, until
from legs import ImpairedLeg, Leg, inside, new_network

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("IOTSTREAM_BIN") or ROOT / "target/release/iotstream").absolute()

# A small machine cannot start all sites at once.
STARTING = threading.Semaphore(3)
START_LIMIT = 60.0

Serve = Callable[[socket.socket], object]

PROCESSES: list[subprocess.Popen] = []
# Held while a process is started, and for good once all have been ended.
MAY_START = threading.Lock()


def iotstream(network: int, arguments: list[object], **options: object) -> subprocess.Popen:
    with MAY_START, inside(network):
        process = subprocess.Popen([BINARY, *arguments], **options)
        PROCESSES.append(process)
    return process


def end_all() -> None:
    """Kills every process that was started, and lets no other start."""
    MAY_START.acquire()
    for process in PROCESSES:
        process.kill()
        process.wait()


class Target:
    """A TCP service on the device; `serve` handles each connection in a thread of its own."""

    def __init__(self, network: int, serve: Serve) -> None:
        with inside(network):
            self.listener = socket.create_server(("127.0.0.1", 0))
        self.serve, self.accepted = serve, 0
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.accepted += 1
                threading.Thread(target=self.attend, args=(connection,), daemon=True).start()

    def attend(self, connection: socket.socket) -> None:
        # A connection that the agent breaks off shows in what arrives.
        with connection, suppress(OSError):
            self.serve(connection)


class Site:
    """An emulator and an agent whose target is `serve` or a command.

    `settings` are lines of its agent.toml; `lines` has what impairs the legs of the user and the device.
    """

    STREAM = "target"

    def __init__(
        self,
        directory: Path,
        serve: Serve | list[str],
        settings: str = "",
        lines: dict[str, Impairment] | None = None,
    ) -> None:
        self.directory, self.processes, self.lines = directory, [], lines or {}
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
        self.networks, self.helpers = [], itertools.count(1)
        self.user_leg = self.device_leg = None
        with STARTING:
            try:
                self.begin(serve, settings)
            except BaseException:
                self.close()
                raise

    def begin(self, serve: Serve | list[str], settings: str) -> None:
        self.lay_legs()
        self.start_hub("--device", "dev-1")
        self.profiles = self.copy("profiles.toml", self.user_leg)
        self.service_string = self.copy("service.conn", self.user_leg)
        device_string = self.copy("devices/dev-1.conn", self.device_leg)
        if callable(serve):
            self.target = Target(self.networks[2], serve)
            leads_to = f'connect = "127.0.0.1:{self.target.port}"'
        else:
            leads_to = f"command = {json.dumps(serve)}"
        self.configure(
            f'connection-string-file = "{device_string}"\n{settings}\n'
            f'[[target]]\nstream = "{self.STREAM}"\n{leads_to}\n'
        )
        self.start_agent()

    def lay_legs(self) -> None:
        for _ in range(3):
            self.networks.append(new_network())
        self.user_network, hub, device = self.networks
        self.user_leg, self.device_leg = (
            ImpairedLeg(number, hub, party, self.lines[name], self.lines[name])
            if name in self.lines
            else Leg(number, hub, party)
            for number, name, party in ((1, "user", self.user_network), (2, "device", device))
        )

    def start_hub(self, *options: str) -> None:
        names = [leg.hub_address for leg in (self.user_leg, self.device_leg)]
        command = ["emulator", "-v", "--dir", self.directory / "hub", *options]
        command += ["--listen", "0.0.0.0:8443", "--mqtt-listen", "0.0.0.0:8883"]
        command += [f"--hostname={name}" for name in names]
        self.hub = self.start(self.networks[1], "hub", "ready", command)
        self.ca_file = self.directory / "hub/ca.pem"

    def copy(self, name: str, leg: Leg, port: int = 8443) -> Path:
        """A copy of a file of the hub's for the party at the other end of `leg`, who reaches the hub at `port`."""
        text = (self.directory / "hub" / name).read_text()
        copied = self.directory / f"{leg.hub_address}-{name.replace('/', '-')}"
        copied.touch(0o600)
        copied.write_text(
            re.sub(r"(HostName=|Endpoint=sb://)[^:;/]+:8443", rf"\g<1>{leg.hub_address}:{port}", text)
        )
        return copied

    def configure(self, settings: str) -> None:
        self.audit_log = self.directory / "audit.log"
        (self.directory / "agent.toml").write_text(
            f'ca-file = "{self.ca_file}"\naudit-log = "{self.audit_log}"\n{settings}'
        )

    def start_agent(self, *options: str) -> None:
        command = ["agent", "-v", "--config", self.directory / "agent.toml", *options]
        self.agent = self.start(self.networks[2], "agent", "in service", command)

    def start(self, network: int, name: str, ready: str, arguments: list[object]) -> subprocess.Popen:
        """Starts iotstream and waits until it prints `ready`."""
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            before = output.tell()
            process = iotstream(
                network,
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        self.processes.append(process)

        def said() -> str:
            with log.open() as file:
                file.seek(before)
                return file.read()

        until(
            lambda: ready in said() or process.poll() is not None,
            START_LIMIT,
            f"the {name} was not there",
        )
        if process.poll() is not None:
            raise Failure(f"the {name} did not start: {' '.join(said().split())}")
        return process

    def helper(self, *options: str, stream: str = STREAM) -> "Helper":
        helper = Helper(self, stream, options)
        self.processes.append(helper.process)
        return helper

    @contextmanager
    def blackout(self, which: str, one_way: int | None = None) -> Iterator[None]:
        """Drops every packet of the user's leg, the device's or both, or all that an impaired leg carries `one_way`."""
        legs = self.legs(which)
        for leg in legs:
            if one_way is None:
                leg.drop()
            else:
                leg.drop((one_way,))
        try:
            yield
        finally:
            for leg in legs:
                leg.carry()

    def legs(self, which: str) -> list[Leg | ImpairedLeg]:
        legs = {"user": self.user_leg, "device": self.device_leg}
        return list(legs.values()) if which == "both" else [legs[which]]

    def ends(self) -> list[dict[str, object]]:
        """The agent's audit records of streams that have ended."""
        lines = self.audit_log.read_text().splitlines() if self.audit_log.exists() else []
        return [record for line in lines if (record := json.loads(line))["event"] == "end"]

    def ended(self, count: int, seconds: float) -> float:
        """Waits until the agent has ended `count` streams; returns how long that took."""
        return until(
            lambda: len(self.ends()) >= count, seconds, f"{count} streams have not ended on the device"
        )

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        for leg in (self.user_leg, self.device_leg):
            if leg is not None:
                leg.close()
        for network in self.networks:
            os.close(network)
        self.networks.clear()

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, _kind: object, failure: BaseException | None, _traceback: object) -> None:
        reasons = {end["reason"] for end in self.ends()}
        self.close()
        if isinstance(failure, Failure) and reasons:
            raise Failure(f"{failure}; the agent says: {', '.join(reasons)}") from failure


class Helper:
    """A running ProxyCommand."""

    def __init__(self, site: Site, stream: str, options: tuple[str, ...]) -> None:
        self.log = site.directory / f"helper-{next(site.helpers)}.log"
        self.process = iotstream(
            site.user_network,
            [
                "--config",
                site.profiles,
                "--log-file",
                self.log,
                "--stream",
                stream,
                *options,
                "--",
                "dev-1",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=site.environment,
            bufsize=0,
        )
        self.output = self.process.stdout.read
        self.since, self.fed = time.monotonic(), 0

    def feed(self, blocks: Iterable[bytes | memoryview]) -> None:
        """Sends `blocks`, then the end of input, from a thread of its own."""

        def run() -> None:
            with suppress(OSError, ValueError):
                for block in blocks:
                    self.send(block)
                self.process.stdin.close()

        threading.Thread(target=run, daemon=True).start()

    def send(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            count = self.process.stdin.write(view)
            self.fed, view = self.fed + count, view[count:]

    def exit(self, seconds: float) -> int:
        """Its exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"the helper did not end, within {seconds:g} s") from None

    def ends_well(self, seconds: float) -> None:
        status = self.exit(seconds)
        if status != 0:
            lived = time.monotonic() - self.since
            raise Failure(f"the helper ended with {status} after {lived:.0f} s: {self.said()}")

    def said(self) -> str:
        """Its error, if it has one."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return " ".join(line[line.index("error:") :] for line in lines if "error:" in line)
