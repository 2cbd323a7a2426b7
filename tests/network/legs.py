"""Unnamed network namespaces and the lines between them.

The kernel removes a namespace with its last process, so that nothing is left behind however the tests end.
"""

import ctypes
import dataclasses
import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import carrier
from carrier import Impairment

CLONE_NEWNET = 0x4000_0000
LIBC = ctypes.CDLL(None, use_errno=True)
OUTSIDE = os.open("/proc/self/ns/net", os.O_RDONLY)


def system_call(function: Callable[..., int], *arguments: int) -> None:
    if function(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def inside(network: int) -> Iterator[None]:
    """Sockets that this thread opens and processes that it starts are in `network`."""
    system_call(LIBC.setns, network, CLONE_NEWNET)
    try:
        yield
    finally:
        system_call(LIBC.setns, OUTSIDE, CLONE_NEWNET)


def ip(network: int, command: str) -> None:
    with inside(network):
        subprocess.run(["ip", *command.split()], check=True)


def new_network() -> int:
    system_call(LIBC.unshare, CLONE_NEWNET)
    try:
        network = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    finally:
        system_call(LIBC.setns, OUTSIDE, CLONE_NEWNET)
    ip(network, "link set lo up")
    return network


class Leg:
    """The line between the hub and one of its parties."""

    NOBODY = "02:00:00:00:00:ff"

    def __init__(self, number: int, hub: int, party: int) -> None:
        self.hub_address = f"10.77.{number}.1"
        # Network, device, address, MAC.
        self.ends = [
            (hub, f"leg{number}", self.hub_address, "02:00:00:00:00:01"),
            (party, "leg", f"10.77.{number}.2", "02:00:00:00:00:02"),
        ]
        (_, near, _, near_mac), (_, far, _, far_mac) = self.ends
        where = f"/proc/{os.getpid()}/fd/{party}"
        ip(
            hub,
            f"link add {near} address {near_mac} type veth peer name {far} address {far_mac} netns {where}",
        )
        for network, device, address, _ in self.ends:
            ip(network, f"addr add {address}/24 dev {device}")
            ip(network, f"link set {device} up")
        self.carry()

    def carry(self) -> None:
        """Carries every packet."""
        self.send_to([mac for _, _, _, mac in reversed(self.ends)])

    def drop(self) -> None:
        """Drops every packet: each is addressed to a MAC that nobody has. TCP sees no error and no lost carrier."""
        self.send_to([self.NOBODY, self.NOBODY])

    def send_to(self, macs: list[str]) -> None:
        for (network, device, _, _), (_, _, peer, _), mac in zip(self.ends, reversed(self.ends), macs):
            ip(network, f"neigh replace {peer} lladdr {mac} dev {device} nud permanent")

    def close(self) -> None:
        pass


TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x4004_54CA, 0x0001, 0x1000
TO_PARTY, TO_HUB = 0, 1


class ImpairedLeg:
    """A leg whose packets a process of ours carries, each direction with an impairment of its own."""

    def __init__(
        self, number: int, hub: int, party: int, to_party: Impairment, to_hub: Impairment, seed: str = "1"
    ) -> None:
        self.hub_address, self.party_address = f"10.77.{number}.1", f"10.77.{number}.2"
        self.impairments = [to_party, to_hub]
        ends = [
            (hub, f"leg{number}", self.hub_address, self.party_address),
            (party, "leg", self.party_address, self.hub_address),
        ]
        devices = [tun(*end) for end in ends]
        arguments = [sys.executable, carrier.__file__, *devices, seed, to_party, to_hub]
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            pass_fds=devices,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        # A device is there for as long as the process is.
        for device in devices:
            os.close(device)

    def carry(self) -> None:
        """Carries packets as at the start."""
        for direction, impairment in enumerate(self.impairments):
            self._order(direction, impairment)

    def drop(self, directions: tuple[int, ...] = (TO_PARTY, TO_HUB)) -> None:
        """Drops every packet in these directions, and nobody is told."""
        for direction in directions:
            self.impair(direction, blackout=True)

    def impair(self, direction: int, **changes: float) -> None:
        """Changes the impairment of the start until the next change, or carry()."""
        self._order(direction, dataclasses.replace(self.impairments[direction], **changes))

    def _order(self, direction: int, impairment: Impairment) -> None:
        self.process.stdin.write(f"{direction} {impairment}\n".encode())
        self.process.stdout.read(1)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def tun(network: int, name: str, address: str, peer: str) -> int:
    """A new TUN device in `network`, which lives until its descriptor is closed."""
    with inside(network):
        device = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    # The kernel sends nothing of its own.
    ip(network, f"link set {name} addrgenmode none")
    ip(network, f"addr add {address} peer {peer} dev {name}")
    ip(network, f"link set {name} up")
    return device
