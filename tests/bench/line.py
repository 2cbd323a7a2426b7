#!/usr/bin/env python3
"""Measures a keystroke in a second session while the first one transfers, over a line of 20 Mbit/s and 40 ms.

Both sessions share one ssh connection (ControlMaster): once without a helper, once through iotstream. For uploads the
line is between the user and the hub, for downloads between the hub and the device, so that the sender is ours each
time. It takes root and iproute2: two network namespaces, and a line between them that a program of ours plays.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "network"))

from carrier import Impairment
from far import BINARY, ROOT
from legs import ImpairedLeg, inside, new_network
from own_ssh import sshd, until, write_ssh_config

NEAR, FAR = "10.77.0.1", "10.77.0.2"
HOSTS = {"direct": "direct", "iotstream, sshd on TCP": "ssh", "iotstream, sshd -i": "sshd-i"}


class Line:
    """Two networks, `near` and `far`, and the line between them: what does not fit its queue is lost."""

    def __init__(self, megabits: float, delay: float, queue: int) -> None:
        self.networks = {"near": new_network(), "far": new_network()}
        way = Impairment(delay=delay / 2, rate=megabits * 1e6, queue=queue)
        self.leg = ImpairedLeg(0, self.networks["near"], self.networks["far"], way, way)

    def start(self, side: str, command: list[object], **options: object) -> subprocess.Popen:
        with inside(self.networks[side]):
            return subprocess.Popen(command, **options)

    def close(self) -> None:
        self.leg.close()


class Site:
    """sshd and an agent at the far end; the hub at either."""

    def __init__(self, line: Line, directory: Path, hub: str) -> None:
        self.line, self.directory, self.processes = line, directory, []
        directory.mkdir()
        self.environment = dict(os.environ, HOME=str(directory), XDG_STATE_HOME=str(directory))
        # It says of each address that it listens.
        server = sshd(directory, f"{FAR}:22", "127.0.0.1:22")
        self.start("far", "listening on 127.0.0.1", *server)
        address = FAR if hub == "far" else NEAR
        self.start(
            hub,
            "ready",
            BINARY,
            "emulator",
            "--dir",
            directory / "hub",
            "--listen",
            f"{address}:8443",
            "--mqtt-listen",
            f"{address}:8883",
            "--hostname",
            address,
            "--device",
            "dev",
        )
        for name in ("profiles.toml", "devices/dev.conn"):
            file = directory / "hub" / name
            file.write_text(file.read_text().replace("localhost", address))
        config = directory / "agent.toml"
        config.write_text(
            f'connection-string-file = "{directory}/hub/devices/dev.conn"\nca-file = "{directory}/hub/ca.pem"\n'
            f'[[target]]\nstream = "ssh"\nconnect = "127.0.0.1:22"\n'
            f'[[target]]\nstream = "sshd-i"\ncommand = ["{server[0]}", "-i", "-f", "{server[-1]}"]\n'
        )
        self.start("far", "in service", BINARY, "agent", "-v", "--config", config)
        write_ssh_config(
            directory,
            f"  ControlPath {directory}/%n\n  ControlMaster auto\n  ControlPersist yes\n",
            "".join(
                f"Match host {stream}\n"
                f"  ProxyCommand {BINARY} --config {directory}/hub/profiles.toml --stream {stream} dev\n"
                for stream in ("ssh", "sshd-i")
            )
            + f"Match host direct\n  HostName {FAR}\n",
        )

    def start(self, side: str, ready: str, *command: object) -> None:
        process = self.line.start(
            side,
            list(command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )
        self.processes.append(process)
        until(ready, process.stdout)

    def ssh(self, *args: str, **options: object) -> subprocess.Popen:
        command = ["ssh", "-F", self.directory / "ssh_config", *args]
        return self.line.start("near", command, env=self.environment, bufsize=0, **options)

    def measure(self, host: str, way: str, size: int) -> dict[str, float]:
        """Keystrokes while idle and while `size` bytes go `way`, in ms, and the transfer's speed."""
        typist = self.ssh(host, "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def press() -> float:
            began = time.perf_counter()
            typist.stdin.write(b"x")
            typist.stdout.read(1)
            return (time.perf_counter() - began) * 1e3

        press()
        idle = [press() for _ in range(20)]
        began = time.perf_counter()
        if way == "up":
            transfer = self.ssh(host, f"head -c {size} >/dev/null", stdin=subprocess.PIPE)
            feeder = threading.Thread(target=feed, args=(transfer, size))
        else:
            transfer = self.ssh(
                host, f"head -c {size} /dev/zero", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
            feeder = threading.Thread(target=discard, args=(transfer,))
        feeder.start()
        # The beginning is TCP's own business.
        time.sleep(3)
        busy = []
        while transfer.poll() is None:
            busy.append(press())
        took = time.perf_counter() - began
        feeder.join()
        typist.stdin.close()
        typist.wait()
        # The last one may have found the line free again.
        return {
            "idle p50": statistics.median(idle),
            f"{way} p50": statistics.median(busy[:-1]),
            f"{way} Mbit/s": size * 8 / took / 1e6,
        }

    def close(self) -> None:
        for host in HOSTS.values():
            self.ssh("-O", "exit", host, stderr=subprocess.DEVNULL).wait()
        for process in reversed(self.processes):
            process.terminate()
            process.wait()


def feed(transfer: subprocess.Popen, size: int) -> None:
    block = bytes(65536)
    with contextlib.suppress(BrokenPipeError):
        while size > 0:
            size -= transfer.stdin.write(block[: min(size, len(block))])
        transfer.stdin.close()


def discard(transfer: subprocess.Popen) -> None:
    with open(os.devnull, "wb") as sink:
        shutil.copyfileobj(transfer.stdout, sink)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=40, help="MB to transfer each way")
    parser.add_argument(
        "--queue", type=int, default=100, help="KB that wait at the line at most: a round trip's worth is 100"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    missing = [
        tool
        for tool in ("ip", "ssh", "sshd")
        if not shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    ]
    if missing or os.geteuid() != 0:
        reason = (
            f"{', '.join(missing)} not found: apt-get install iproute2 openssh-client openssh-server"
            if missing
            else "it takes root"
        )
        sys.exit(f"{parser.prog}: {reason}")
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--bin", "iotstream", "--example", "bench-server"],
        cwd=ROOT,
        check=True,
    )
    samples: dict[str, dict[str, list[float]]] = {}
    line = Line(megabits=20, delay=0.04, queue=options.queue * 1000)
    with tempfile.TemporaryDirectory() as directory:
        try:
            for way, hub in (("up", "far"), ("down", "near")):
                site = Site(line, Path(directory) / way, hub)
                for _ in range(options.rounds):
                    for name, host in HOSTS.items():
                        for figure, value in site.measure(host, way, options.size * 1_000_000).items():
                            samples.setdefault(name, {}).setdefault(figure, []).append(value)
                site.close()
        finally:
            line.close()
    medians = {
        name: {figure: statistics.median(values) for figure, values in figures.items()}
        for name, figures in samples.items()
    }
    if options.json:
        json.dump(medians, sys.stdout, indent=2)
        print()
        return
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    print(f"20 Mbit/s, 40 ms, {options.queue} KB of queue, {control}: keystrokes in ms")
    figures = list(medians["direct"])
    direct = medians["direct"]
    print(f"{'':24}" + "".join(f"{figure:>20}" for figure in figures))
    for name, values in medians.items():
        cells = (f"{values[figure]:.1f} ({values[figure] / direct[figure]:.2f})" for figure in figures)
        print(f"{name:24}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
