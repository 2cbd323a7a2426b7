"""iotstream and its peers: what each is called with, and the measurements of one bridge."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from far import BINARY, Distance, Far

MIB = 1 << 20
BLOCK = bytes(MIB)


@dataclass
class Peer:
    """A bridge between stdin and stdout and a port of the far end; a plain one names its mode on its first line."""

    name: str
    port: str
    command: Callable[[Far, str, str], list]
    plain: bool


def iotstream(name: str, backend: str) -> Peer:
    """iotstream through a backend."""
    return Peer(
        name,
        "wss",
        lambda far, port, mode: [
            BINARY,
            "--config",
            far.profiles(port, backend),
            "--stream",
            mode.replace("/", "."),
            "bench",
        ],
        False,
    )


def peers(backend: str) -> list[Peer]:
    """iotstream through `backend`, and through IoT Hub beside another, and those of the others that are installed."""
    ours = [iotstream("iotstream", backend)]
    if backend != "iothub":
        ours.append(iotstream("iothub", "iothub"))
    others = [
        Peer(
            "websocat",
            "wss",
            lambda far, port, mode: ["websocat", "-b", "-B", "65536", f"wss://localhost:{port}/{mode}"],
            False,
        ),
        Peer(
            "proxytunnel",
            "tls",
            lambda far, port, mode: [
                "proxytunnel",
                "-q",
                "-E",
                "-C",
                far.directory / "ca.pem",
                "-p",
                f"localhost:{port}",
                "-d",
                "far:1",
            ],
            True,
        ),
        Peer(
            "socat",
            "tls",
            lambda far, port, mode: [
                "socat",
                "-b",
                "65536",
                "-",
                f"OPENSSL:localhost:{port},cafile={far.directory}/ca.pem",
            ],
            True,
        ),
        Peer("nc", "tcp", lambda far, port, mode: ["nc", "-N", "127.0.0.1", port], True),
    ]
    return ours + [peer for peer in others if shutil.which(peer.name)]


@dataclass
class Run:
    """One run of one peer."""

    process: subprocess.Popen
    began: float

    def send(self, data: bytes) -> int:
        return os.write(self.process.stdin.fileno(), data)

    def send_all(self, size: int) -> None:
        while size:
            size -= self.send(BLOCK[: min(size, MIB)])

    def receive(self, room: bytearray) -> int:
        count = os.readv(self.process.stdout.fileno(), [room])
        if count == 0:
            raise RuntimeError(f"{self.process.args[0]}: ended early")
        return count

    def receive_all(self, size: int) -> None:
        room = bytearray(MIB // 4)
        while size:
            size -= self.receive(room)

    def finish(self) -> tuple[float, int]:
        """CPU seconds and peak resident KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        self.process.stdin.close()
        self.process.stdout.close()
        deadline = time.monotonic() + 1
        while (done := os.wait4(self.process.pid, os.WNOHANG))[0] == 0:
            # Some peers stay until the far end goes: they have done their work.
            if time.monotonic() > deadline:
                os.kill(self.process.pid, 9)
            time.sleep(0.002)
        self.process.returncode, usage = done[1], done[2]
        return usage.ru_utime + usage.ru_stime, resident


def start(peer: Peer, far: Far, mode: str, port: str = "") -> Run:
    environment = dict(
        os.environ, SSL_CERT_FILE=str(far.directory / "ca.pem"), XDG_STATE_HOME=str(far.directory)
    )
    command = peer.command(far, port or far.ports[peer.port], mode)
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
    )
    if peer.plain:
        process.stdin.write(f"{mode}\n".encode())
    return Run(process, began)


def bulk_up(peer: Peer, far: Far, size: int) -> dict[str, float]:
    run = start(peer, far, f"sink/{size}")
    began = time.perf_counter()
    run.send_all(size)
    run.receive(bytearray(1))
    took = time.perf_counter() - began
    cpu, resident = run.finish()
    return {"up MB/s": size / took / 1e6, "up CPU s/GiB": cpu * (1 << 30) / size, "up KiB": resident}


def bulk_down(peer: Peer, far: Far, size: int) -> dict[str, float]:
    run = start(peer, far, f"source/{size}")
    left = size - run.receive(bytearray(MIB // 4))
    began = time.perf_counter()
    run.receive_all(left)
    took = time.perf_counter() - began
    cpu, resident = run.finish()
    return {"down MB/s": size / took / 1e6, "down CPU s/GiB": cpu * (1 << 30) / size, "down KiB": resident}


def round_trips(send: Callable, receive: Callable, count: int) -> dict[str, float]:
    room = bytearray(1)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        send(b"x")
        receive(room)
        times.append(time.perf_counter() - began)
    times.sort()
    return {"key p50 µs": times[count // 2] * 1e6, "key p99 µs": times[count * 99 // 100] * 1e6}


def keystroke(peer: Peer, far: Far, count: int) -> dict[str, float]:
    run = start(peer, far, "echo")
    run.send(b"x")
    run.receive(bytearray(1))
    first = time.perf_counter() - run.began
    figures = round_trips(run.send, run.receive, count)
    run.finish()
    return {"start ms": first * 1e3} | figures


def direct(far: Far, count: int) -> dict[str, float]:
    """A keystroke with no helper at all: a TCP connection of this process's."""
    with socket.create_connection(("127.0.0.1", int(far.ports["tcp"]))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"echo\n")
        return round_trips(connection.send, connection.recv_into, count)


def set_up(peer: Peer, far: Far, delay: float) -> dict[str, float]:
    """From start to the first echoed byte over a way of `delay`, without the round trip of that byte itself."""
    way = Distance(int(far.ports[peer.port]), delay)
    figures = {}
    # The second one of iotstream's knows the gateway.
    for which in ("first", "second") if peer.name == "iotstream" else ("first",):
        run = start(peer, far, "echo", str(way.port))
        run.send(b"x")
        run.receive(bytearray(1))
        took = time.perf_counter() - run.began - delay
        run.finish()
        figures[f"{which} at {delay * 1e3:.0f} ms"] = took * 1e3
    way.close()
    return figures
