"""A PLC at an address: S7 on port 102, with "PUMP" in data block 1, and Modbus/TCP on port 502, with 42 and 7 in the
registers 1 and 2. With `read ADDRESS`, a client of S7 that prints the data block."""

import sys

from pymodbus.server import StartTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from snap7.client import Client
from snap7.server import Server
from snap7.type import SrvArea


def serve(address: str) -> None:
    s7 = Server(log=False)
    s7.register_area(SrvArea.DB, 1, bytearray(b"PUMP"))
    s7.start_to(address, 102)
    registers = SimData(0, values=[42, 7], datatype=DataType.REGISTERS)
    StartTcpServer(SimDevice(1, simdata=[registers]), address=(address, 502))


def read(address: str) -> None:
    client = Client()
    client.connect(address, rack=0, slot=1)
    print(client.db_read(1, 0, 4).decode())
    client.disconnect()


if sys.argv[1] == "read":
    read(sys.argv[2])
else:
    serve(sys.argv[1])
