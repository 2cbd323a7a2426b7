"""What processes use: descriptors, threads and memory, of each; and which there are."""

import os
import re
import statistics
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Use:
    descriptors: int
    threads: int
    resident: int  # KiB

    def least(self, other: "Use") -> "Use":
        return Use(
            min(self.descriptors, other.descriptors),
            min(self.threads, other.threads),
            min(self.resident, other.resident),
        )

    def exceeds(self, other: "Use") -> bool:
        return self.descriptors > other.descriptors or self.threads > other.threads


def use(pid: int) -> Use:
    status = Path(f"/proc/{pid}/status").read_text()
    return Use(
        len(os.listdir(f"/proc/{pid}/fd")),
        len(os.listdir(f"/proc/{pid}/task")),
        int(re.search(r"VmRSS:\s*(\d+)", status)[1]),
    )


def children(pid: int) -> list[int]:
    # A thread's children go to another thread when it ends.
    return [
        int(child)
        for task in os.listdir(f"/proc/{pid}/task")
        for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
    ]


def at_home(home: Path) -> set[int]:
    """The processes whose HOME it is."""
    found, words = set(), f"HOME={home}".encode()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                if words in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.add(int(name))
    return found


def ports(pid: int) -> set[int]:
    """The local ports of a process's TCP connections over IPv4."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {int(line[1].split(":")[1], 16) for line in lines if f"socket:[{line[9]}]" in inodes}


def growth(samples: list[int]) -> int:
    """By how much the median of the last quarter is above that of the third."""
    quarter = len(samples) // 4
    if quarter == 0:
        return 0
    return int(statistics.median(samples[-quarter:]) - statistics.median(samples[-2 * quarter : -quarter]))
