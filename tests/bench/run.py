#!/usr/bin/env python3
"""Measures iotstream beside its peers, interleaved in one run, and prints medians and ratios.

Peers are measured where they are installed: websocat, socat and nc. The far end is one TLS server for all
of them. Absolute figures are this machine's on this day; the ratios are what counts.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
BLOCK = bytes(MIB)


@dataclass
class Far:
    """The server, and what clients need to reach it."""

    directory: Path
    ports: dict[str, str] = field(default_factory=dict)

    def start(self) -> subprocess.Popen:
        server = ROOT / "target/release/examples/bench-server"
        process = subprocess.Popen([server, self.directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports = dict(pair.split("=") for pair in process.stdout.readline().split())
        profiles = self.directory / "profiles.toml"
        profiles.touch(0o600)
        profiles.write_text(
            'default = "bench"\n[profile.bench]\n'
            f'connection-string = "HostName=localhost:{self.ports["wss"]};SharedAccessKeyName=s;SharedAccessKey=c2VjcmV0"\n'
            'ca-file = "ca.pem"\n'
        )
        return process


@dataclass
class Peer:
    """A bridge between stdin and stdout and the far end; a plain one names its mode on its first line."""

    name: str
    command: Callable[[Far, str], list[str]]
    plain: bool


def peers() -> list[Peer]:
    """iotstream, and those of the others that are installed."""
    found = [
        Peer(
            "iotstream",
            lambda far, mode: [
                str(ROOT / "target/release/iotstream"), "--config", str(far.directory / "profiles.toml"),
                "--stream", mode.replace("/", "."), "bench",
            ],
            False,
        )
    ]
    others = [
        Peer("websocat", lambda far, mode: ["websocat", "-b", "-B", "65536", f"wss://localhost:{far.ports['wss']}/{mode}"], False),
        Peer("socat", lambda far, mode: ["socat", "-b", "65536", "-", f"OPENSSL:localhost:{far.ports['tls']},cafile={far.directory}/ca.pem"], True),
        Peer("nc", lambda far, mode: ["nc", "-N", "127.0.0.1", far.ports["tcp"]], True),
    ]
    return found + [peer for peer in others if shutil.which(peer.name)]


@dataclass
class Run:
    """One run of one peer."""

    process: subprocess.Popen
    began: float

    def finish(self) -> tuple[float, float]:
        """CPU seconds and peak resident KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        self.process.stdin.close()
        self.process.stdout.close()
        deadline = time.monotonic() + 1
        while (done := os.wait4(self.process.pid, os.WNOHANG))[0] == 0:
            # Some peers stay until the far end goes: they have done their work.
            if time.monotonic() > deadline:
                self.process.kill()
            time.sleep(0.002)
        self.process.returncode, usage = done[1], done[2]
        return usage.ru_utime + usage.ru_stime, resident


def start(peer: Peer, far: Far, mode: str) -> Run:
    environment = dict(os.environ, SSL_CERT_FILE=str(far.directory / "ca.pem"))
    began = time.perf_counter()
    process = subprocess.Popen(
        peer.command(far, mode), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
    )
    if peer.plain:
        process.stdin.write(f"{mode}\n".encode())
    return Run(process, began)


def bulk_up(peer: Peer, far: Far, size: int) -> dict[str, float]:
    run = start(peer, far, f"sink/{size}")
    out = run.process.stdin.fileno()
    began = time.perf_counter()
    left = size
    while left:
        left -= os.write(out, BLOCK[: min(left, MIB)])
    assert os.read(run.process.stdout.fileno(), 1) == b"!", f"{peer.name}: no answer"
    took = time.perf_counter() - began
    cpu, resident = run.finish()
    return {"up MB/s": size / took / 1e6, "up CPU s/GiB": cpu * (1 << 30) / size, "up KiB": resident}


def bulk_down(peer: Peer, far: Far, size: int) -> dict[str, float]:
    run = start(peer, far, f"source/{size}")
    began = None
    left = size
    while left:
        chunk = os.read(run.process.stdout.fileno(), MIB)
        assert chunk, f"{peer.name}: ended early"
        began = began or time.perf_counter()
        left -= len(chunk)
    took = time.perf_counter() - began
    cpu, resident = run.finish()
    return {"down MB/s": size / took / 1e6, "down CPU s/GiB": cpu * (1 << 30) / size, "down KiB": resident}


def keystroke(peer: Peer, far: Far, count: int) -> dict[str, float]:
    run = start(peer, far, "echo")
    out, back = run.process.stdin.fileno(), run.process.stdout.fileno()
    os.write(out, b"x")
    os.read(back, 1)
    first = time.perf_counter() - run.began
    times = []
    for _ in range(count):
        began = time.perf_counter()
        os.write(out, b"x")
        os.read(back, 1)
        times.append(time.perf_counter() - began)
    run.finish()
    times.sort()
    return {
        "start ms": first * 1e3,
        "key p50 µs": times[len(times) // 2] * 1e6,
        "key p99 µs": times[len(times) * 99 // 100] * 1e6,
    }


def direct(far: Far, count: int) -> dict[str, float]:
    """A keystroke with no helper at all: a TCP connection of this process's."""
    import socket

    with socket.create_connection(("127.0.0.1", int(far.ports["tcp"]))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"echo\n")
        times = []
        for _ in range(count):
            began = time.perf_counter()
            connection.send(b"x")
            connection.recv(1)
            times.append(time.perf_counter() - began)
    times.sort()
    return {"key p50 µs": times[len(times) // 2] * 1e6, "key p99 µs": times[len(times) * 99 // 100] * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256, help="MiB each way")
    parser.add_argument("--keys", type=int, default=2000, help="round trips a round")
    parser.add_argument("--only", help="a comma-separated list of peers")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "iotstream", "--example", "bench-server"], cwd=ROOT, check=True)
    samples: dict[str, dict[str, list[float]]] = {}

    def note(name: str, figures: dict[str, float]) -> None:
        for figure, value in figures.items():
            samples.setdefault(name, {}).setdefault(figure, []).append(value)

    chosen = [peer for peer in peers() if not options.only or peer.name in options.only.split(",")]
    with tempfile.TemporaryDirectory() as directory:
        far = Far(Path(directory))
        server = far.start()
        try:
            for _ in range(options.rounds):
                note("direct", direct(far, options.keys))
                for peer in chosen:
                    note(peer.name, keystroke(peer, far, options.keys))
                for peer in chosen:
                    note(peer.name, bulk_up(peer, far, options.size * MIB))
                for peer in chosen:
                    note(peer.name, bulk_down(peer, far, options.size * MIB))
        finally:
            server.stdin.close()
            server.wait()
    medians = {name: {figure: statistics.median(values) for figure, values in all_.items()} for name, all_ in samples.items()}
    if options.json:
        json.dump(medians, sys.stdout, indent=2)
        print()
        return
    figures = list(medians["iotstream"])
    ours = medians["iotstream"]
    print(f"{'':12}" + "".join(f"{figure:>17}" for figure in figures))
    for name, values in medians.items():
        print(f"{name:12}" + "".join(f"{values[figure]:17.2f}" if figure in values else f"{'–':>17}" for figure in figures))
    print("iotstream's, as a multiple of")
    for name, values in medians.items():
        if name != "iotstream":
            print(f"{name:12}" + "".join(f"{ours[figure] / values[figure]:17.2f}" if figure in values else f"{'–':>17}" for figure in figures))


if __name__ == "__main__":
    main()
