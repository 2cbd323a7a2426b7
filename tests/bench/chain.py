"""The whole chain on this machine: service, agent and sshd, and ssh through them."""

import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

from far import BINARY, Far
from own_ssh import sshd, until, write_ssh_config
from peers import MIB, Run


class Chain:
    """A hub or a relay, and an agent whose targets are the far end and an sshd."""

    def __init__(self, directory: Path, far: Far, backend: str) -> None:
        self.directory = directory
        self.environment = dict(os.environ, HOME=str(directory), XDG_STATE_HOME=str(directory))
        self.hub = self.start(
            "emulator",
            "--dir",
            directory / "hub",
            "--listen",
            "127.0.0.1:0",
            "--mqtt-listen",
            "127.0.0.1:0",
            *{"iothub": ("--device", "dev"), "relay": ("--relay-entity", "dev")}[backend],
        )
        until("ready", self.hub.stdout)
        device = {"iothub": "devices/dev.conn", "relay": "relay/dev.listen.conn"}[backend]
        profile = {"iothub": (), "relay": ("--profile", "relay")}[backend]
        self.call = [BINARY, "--config", directory / "hub/profiles.toml", *profile]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.sshd = subprocess.Popen(sshd(directory, f"127.0.0.1:{port}"), stderr=subprocess.PIPE, text=True)
        until("listening", self.sshd.stderr)
        write_ssh_config(
            directory,
            "  Ciphers aes128-gcm@openssh.com\n",
            f"Match host dev\n  ProxyCommand {' '.join(str(word) for word in self.call)} %h\n"
            f"Match host through-nc\n  ProxyCommand nc -N 127.0.0.1 {port}\n"
            f"Match host direct\n  HostName 127.0.0.1\n  Port {port}\n",
        )
        config = directory / "agent.toml"
        config.write_text(
            f'connection-string-file = "{directory}/hub/{device}"\nca-file = "{directory}/hub/ca.pem"\n'
            f'[[target]]\nstream = "far"\nconnect = "127.0.0.1:{far.ports["tcp"]}"\n'
            f'[[target]]\nstream = "ssh"\nconnect = "127.0.0.1:{port}"\n'
        )
        self.agent = self.start("agent", "-v", "--config", config, stderr=subprocess.PIPE)
        until("in service", self.agent.stderr)

    def start(self, *args: object, **options: object) -> subprocess.Popen:
        return subprocess.Popen(
            [BINARY, *args], stdout=subprocess.PIPE, text=True, env=self.environment, **options
        )

    def helper(self, mode: str) -> Run:
        command = [*self.call, "--stream", "far", "dev"]
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=self.environment
        )
        process.stdin.write(f"{mode}\n".encode())
        return Run(process, began)

    def memory(self, which: str = "VmRSS") -> int:
        """Of the agent, in KiB."""
        return int(re.search(rf"{which}:\s+(\d+)", Path(f"/proc/{self.agent.pid}/status").read_text())[1])

    def streams(self, count: int, size: int) -> dict[str, float]:
        """`count` streams at once, each of which then echoes `size` bytes."""
        runs = [self.helper("echo") for _ in range(count)]
        for run in runs:
            run.send(b"x")
            run.receive(bytearray(1))
        quiet = self.memory()
        # VmHWM begins anew.
        Path(f"/proc/{self.agent.pid}/clear_refs").write_text("5")
        began = time.perf_counter()
        threads = [threading.Thread(target=echo, args=(run, size)) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        figures = {
            "quiet KiB": quiet,
            "peak KiB": self.memory("VmHWM"),
            "echo MB/s": count * size / took / 1e6,
        }
        for run in runs:
            run.finish()
        return figures

    def bulk(self, mode: str, size: int) -> dict[str, float]:
        """Bytes through one stream, and the CPU time of each program."""
        before = cpu(self.agent), cpu(self.hub)
        run = self.helper(f"{mode}/{size}")
        began = time.perf_counter()
        if mode == "sink":
            run.send_all(size)
            run.receive(bytearray(1))
        else:
            run.receive_all(size)
        took = time.perf_counter() - began
        agent, hub = cpu(self.agent) - before[0], cpu(self.hub) - before[1]
        helper, _ = run.finish()
        scale = (1 << 30) / size
        way = "up" if mode == "sink" else "down"
        return {
            f"{way} MB/s": size / took / 1e6,
            f"{way} helper s/GiB": helper * scale,
            f"{way} agent s/GiB": agent * scale,
            f"{way} emulator s/GiB": hub * scale,
        }

    def ssh(self, host: str, *command: str) -> float:
        """Milliseconds of `ssh HOST COMMAND`."""
        began = time.perf_counter()
        subprocess.run(
            ["ssh", "-F", self.directory / "ssh_config", host, *command],
            check=True,
            env=self.environment,
            stdin=subprocess.DEVNULL,
        )
        return (time.perf_counter() - began) * 1e3

    def scp(self, host: str, size: int) -> dict[str, float]:
        """MB/s of scp, there and back."""
        here, there = self.directory / "here", self.directory / "there"
        if not here.exists() or here.stat().st_size != size:
            with here.open("wb") as file:
                for _ in range(size // MIB):
                    file.write(os.urandom(MIB))
        figures = {}
        for way, source, target in (
            ("up", here, f"{host}:{there}"),
            ("down", f"{host}:{there}", self.directory / "back"),
        ):
            began = time.perf_counter()
            subprocess.run(
                ["scp", "-q", "-F", self.directory / "ssh_config", source, target],
                check=True,
                env=self.environment,
            )
            figures[f"scp {way} MB/s"] = size / (time.perf_counter() - began) / 1e6
        return figures

    def close(self) -> None:
        for process in (self.agent, self.hub, self.sshd):
            process.terminate()
            process.wait()


def cpu(process: subprocess.Popen) -> float:
    """CPU seconds so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def echo(run: Run, size: int) -> None:
    sender = threading.Thread(target=run.send_all, args=(size,))
    sender.start()
    run.receive_all(size)
    sender.join()
