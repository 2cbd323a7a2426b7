#!/usr/bin/env python3
"""Measures iotstream beside its peers, interleaved in one run, and prints medians and ratios.

Peers are measured where they are installed: websocat, proxytunnel, socat and nc. The far end is one server for all of
them. Absolute figures are this machine's on this day; the ratios are what counts.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers
from chain import Chain
from far import ROOT, Far
from peers import MIB

SECTIONS = ("bridge", "distance", "agent", "ssh")


class Samples:
    """What was measured, by section, by who it is of, and by figure."""

    def __init__(self) -> None:
        self.all: dict[str, dict[str, dict[str, list[float]]]] = {}

    def note(self, section: str, name: str, figures: dict[str, float]) -> None:
        for figure, value in figures.items():
            self.all.setdefault(section, {}).setdefault(name, {}).setdefault(figure, []).append(value)

    def medians(self) -> dict:
        return {
            section: {
                name: {figure: statistics.median(values) for figure, values in figures.items()}
                for name, figures in of.items()
            }
            for section, of in self.all.items()
        }


def bridge(samples: Samples, far: Far, chosen: list, options: argparse.Namespace) -> None:
    samples.note("bridge", "direct", peers.direct(far, options.keys))
    for measure, amount in (
        (peers.keystroke, options.keys),
        (peers.bulk_up, options.size * MIB),
        (peers.bulk_down, options.size * MIB),
    ):
        for peer in chosen:
            samples.note("bridge", peer.name, measure(peer, far, amount))


def distance(samples: Samples, far: Far, chosen: list) -> None:
    for delay in (0.0, 0.05, 0.1, 0.15):
        for peer in chosen:
            samples.note("set-up in ms over a way of 0 to 150 ms", peer.name, peers.set_up(peer, far, delay))


def agent(samples: Samples, chain: Chain, size: int) -> None:
    for count in (1, 10, 50):
        samples.note("the agent", f"{count} streams", chain.streams(count, size * MIB // 8 // count))
    samples.note("the agent", "idle again", {"quiet KiB": chain.memory()})
    for mode in ("sink", "source"):
        samples.note("one stream through hub and agent", "iotstream", chain.bulk(mode, size * MIB))


def ssh(samples: Samples, chain: Chain, size: int, last: bool) -> None:
    hosts = {"iotstream": "dev", "nc": "through-nc", "direct": "direct"}
    for name, host in hosts.items():
        samples.note("ssh", name, {"ssh host true ms": chain.ssh(host, "true")})
    if last:
        for name, host in hosts.items():
            samples.note("ssh", name, chain.scp(host, size * MIB))


def show(medians: dict) -> None:
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {platform.system()} {platform.release()}")
    for section, of in medians.items():
        figures = list(dict.fromkeys(figure for values in of.values() for figure in values))
        ours = of.get("iotstream", {})
        print(f"\n{section}")
        width = max(len(name) for name in of) + 2
        widths = [max(len(figure), 9) + 2 for figure in figures]
        print(" " * width + "".join(f"{figure:>{size}}" for figure, size in zip(figures, widths)))
        for name, values in of.items():
            cells = (
                f"{values[figure]:.{2 if values[figure] < 100 else 0}f}" if figure in values else "–"
                for figure in figures
            )
            print(f"{name:{width}}" + "".join(f"{cell:>{size}}" for cell, size in zip(cells, widths)))
        if ours and len(of) > 1:
            print("iotstream's, as a multiple of")
            for name, values in of.items():
                if name != "iotstream":
                    cells = (
                        f"{ours[figure] / values[figure]:.2f}" if figure in values and figure in ours else "–"
                        for figure in figures
                    )
                    print(f"{name:{width}}" + "".join(f"{cell:>{size}}" for cell, size in zip(cells, widths)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256, help="MiB each way through a bridge")
    parser.add_argument("--scp", type=int, default=1024, help="MiB of the file that scp copies, once")
    parser.add_argument("--keys", type=int, default=2000, help="round trips a round")
    parser.add_argument("--only", help="a comma-separated list of peers")
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--backend", choices=("iothub", "relay"), default="iothub")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sections = options.sections.split(",")
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--bin", "iotstream", "--example", "bench-server"],
        cwd=ROOT,
        check=True,
    )
    samples = Samples()
    chosen = [
        peer
        for peer in peers.peers(options.backend)
        if not options.only or peer.name in options.only.split(",")
    ]
    with tempfile.TemporaryDirectory() as directory:
        far = Far(Path(directory))
        server = far.start()
        chain = Chain(Path(directory), far, options.backend) if {"agent", "ssh"} & set(sections) else None
        try:
            if "agent" in sections:
                samples.note("the agent", "idle", {"quiet KiB": chain.memory()})
            for number in range(options.rounds):
                if "bridge" in sections:
                    bridge(samples, far, chosen, options)
                if "distance" in sections:
                    distance(samples, far, chosen)
                if "agent" in sections:
                    agent(samples, chain, options.size)
                if "ssh" in sections:
                    ssh(samples, chain, options.scp, number == options.rounds - 1)
        finally:
            if chain:
                chain.close()
            server.stdin.close()
            server.wait()
    medians = samples.medians()
    if options.json:
        json.dump(medians, sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        show(medians)


if __name__ == "__main__":
    main()
