"""What libfuse's example ``cuse`` replies, with these tests for a kernel, for few kernels have CUSE.

The requests are packed here by hand; the replies are libfuse's own, among them those that no file system may give: the
example asks an unrestricted ioctl(2) to come again with the memory that it wants to read and write.
"""

import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from furtrace.wire.opcodes import Opcode
from tests.external import Unavailable, libfuse
from tests.live.protocol.capture import Exchange, Sent
from tests.live.protocol.servers import PATIENCE

pytestmark = pytest.mark.live

# Where it wants to open /dev/cuse, it gets the socket that these tests hold the other end of.
INSTEAD_OF_CUSE: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef int (*opener)(const char *, int, int);
static int instead(const char *name, const char *path, int flags, int mode)
{
    if (!strcmp(path, "/dev/cuse"))
        return dup(atoi(getenv("CUSE_SOCKET")));
    return ((opener)dlsym(RTLD_NEXT, name))(path, flags, mode);
}
int open(const char *path, int flags, int mode) { return instead("open", path, flags, mode); }
int open64(const char *path, int flags, int mode) { return instead("open64", path, flags, mode); }
"""
FIOC_READ: Final = 0x4502
UNRESTRICTED, RETRY = 1 << 1, 1 << 2
ARGUMENT: Final = 0x7F00_0000_1000
BUFFER: Final = 0x7F00_0000_2000


class Device:
    """The example, seen from the kernel."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unique = 0

    def ask(self, opcode: Opcode, body: bytes) -> Exchange:
        """Send a request and wait for the reply."""
        self._unique += 2
        request = struct.pack("<IIQQIIIHH", 40 + len(body), opcode, self._unique, 0, 0, 0, os.getpid(), 0, 0) + body
        self._channel.send(request)
        reply = self._channel.recv(1 << 20)
        return Exchange(request, Sent(reply, len(reply)))

    def ioctl(self, given: bytes, room: int) -> Exchange:
        """Ask FIOC_READ, with what the example wanted to read, and room for what it wants to write."""
        head = struct.pack("<QIIQII", 0, UNRESTRICTED, FIOC_READ, ARGUMENT, len(given), room)
        return self.ask(Opcode.IOCTL, head + given)


@contextmanager
def running(folder: Path) -> Iterator[Device]:
    """Run the example ``cuse``.

    Raises:
        Unavailable: there is no libfuse, or no compiler.
    """
    program = libfuse.example("cuse")
    if shutil.which("gcc") is None:
        raise Unavailable("gcc is not installed.")
    (folder / "instead.c").write_text(INSTEAD_OF_CUSE)
    library = folder / "instead.so"
    command = ["gcc", "-shared", "-fPIC", "-o", str(library), str(folder / "instead.c")]
    subprocess.run(command, check=True, timeout=PATIENCE)
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        ours.settimeout(PATIENCE)
        environment = {**os.environ, "LD_PRELOAD": str(library), "CUSE_SOCKET": str(theirs.fileno())}
        command = [str(program), "-f", "-s", "--name=furtrace-cuse", "--maj=250", "--min=3"]
        process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL)
        try:
            yield Device(ours)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    with ExitStack() as stack:
        try:
            device = stack.enter_context(running(tmp_path_factory.mktemp("cuse")))
        except Unavailable as reason:
            pytest.skip(str(reason))
        init = device.ask(Opcode.CUSE_INIT, struct.pack("<4I", 7, 45, 0, 1))
        assert init.asked.words("cuse_init_in.flags") == "CUSE_UNRESTRICTED_IOCTL"
        check_init(init)
        assert device.ask(Opcode.OPEN, struct.pack("<II", os.O_RDWR, 0)).error == 0
        yield device


def check_init(init: Exchange) -> None:
    answered = init.answered
    assert init.asked.decoded.problems == answered.decoded.problems == ()
    assert (answered["cuse_init_out.dev_major"], answered["cuse_init_out.dev_minor"]) == (250, 3)
    assert answered.words("cuse_init_out.flags") == "CUSE_UNRESTRICTED_IOCTL"
    assert answered.all("info") == [b"DEVNAME=furtrace-cuse"]
    assert answered.decoded.size == 16 + 72 + len(b"DEVNAME=furtrace-cuse\0")


def iovecs(exchange: Exchange) -> list[tuple[object, ...]]:
    fields = exchange.answered
    assert fields.decoded.problems == ()
    assert fields.words("fuse_ioctl_out.flags") == "FUSE_IOCTL_RETRY"
    ends = [fields.all(f"fuse_ioctl_iovec.{name}") for name in ("base", "len")]
    return list(zip(*ends, strict=True))


def test_asks_for_the_argument_first(device: Device) -> None:
    first = device.ioctl(b"", 0)
    assert first.asked.words("fuse_ioctl_in.flags") == "FUSE_IOCTL_UNRESTRICTED"
    assert (first.answered["fuse_ioctl_out.in_iovs"], first.answered["fuse_ioctl_out.out_iovs"]) == (1, 0)
    assert iovecs(first) == [(ARGUMENT, 40)]


def test_asks_for_room_next_and_replies_then(device: Device) -> None:
    # struct fioc_rw_arg of libfuse's example/ioctl.h: offset, buf, size, prev_size, new_size
    argument = struct.pack("<5Q", 2, BUFFER, 100, 0, 0)
    write = struct.pack("<QQIIQII", 0, 0, 6, 0, 0, 0, 0) + b"abcdef"
    assert device.ask(Opcode.WRITE, write).answered["fuse_write_out.size"] == 6
    second = device.ioctl(argument, 0)
    assert (second.answered["fuse_ioctl_out.in_iovs"], second.answered["fuse_ioctl_out.out_iovs"]) == (1, 3)
    assert iovecs(second) == [(ARGUMENT, 40), (ARGUMENT + 24, 8), (ARGUMENT + 32, 8), (BUFFER, 100)]
    third = device.ioctl(argument, 8 + 8 + 100)
    assert third.asked["data"] == argument
    assert third.answered.decoded.problems == ()
    assert third.answered["fuse_ioctl_out.result"] == 4
    assert third.answered["data"] == struct.pack("<2Q", 6, 6) + b"cdef"
