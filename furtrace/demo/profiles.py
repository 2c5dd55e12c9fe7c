"""The traffic's profiles: each uses a file system the way a kind of program does."""

import os
from collections.abc import Callable
from pathlib import Path

from furtrace.demo.workload import Workload

_BLOCK = 128 << 10
_MIB = 1 << 20


def shell(work: Workload) -> None:
    """Work as from a shell: make, copy, move, list, link, label and remove small trees, by the usual programs."""
    for number in range(work.times(5)):
        project = work.root / f"project{number}"
        files = _plant(work, project)
        copy = work.root / "copy"
        work.command("cp", "-r", project, copy)
        work.command("mv", copy, work.root / "moved")
        _compare(work, work.root / "moved", files)
        _links(work, project, *next(iter(files.items())))
        listed = work.command("find", project, "-type", "f").decode().splitlines()
        work.check(len(listed) == len(files) + 1, f"find sees {len(listed)} files in {project}")
        work.command("ls", "-lR", project)
        work.command("rm", "-r", project, work.root / "moved")
    work.check_names(work.root, set())


def sequential(work: Workload) -> None:
    """Write one big file from start to end, read it, and append to it."""
    path = work.root / "big"
    blocks = [work.chance.randbytes(_BLOCK) for _ in range(8)]
    count = work.times(32 * _MIB // _BLOCK)
    with path.open("wb", buffering=0) as file:
        for number in range(count):
            file.write(blocks[number % len(blocks)])
            work.did(written=_BLOCK)
        os.fsync(file.fileno())
    with path.open("rb", buffering=0) as file:
        for number in range(count):
            data = file.read(_BLOCK)
            work.did(read=len(data))
            work.check(data == blocks[number % len(blocks)], f"block {number} of {path} is not what was written")
        work.check(file.read(1) == b"", f"{path} is longer than what was written")
    path.unlink()
    work.did()


def scattered(work: Workload) -> None:
    """Read and write small pieces anywhere in a file, and compare with a copy in memory."""
    path = work.root / "database"
    wanted = bytearray(_MIB)
    work.write(path, bytes(wanted))
    descriptor = os.open(path, os.O_RDWR)
    try:
        for _ in range(work.times(2000)):
            offset = work.chance.randrange(_MIB - 4096)
            size = work.chance.randint(1, 4096)
            if work.chance.random() < 0.5:
                data = work.chance.randbytes(size)
                wanted[offset : offset + size] = data
                work.did(written=os.pwrite(descriptor, data, offset))
            else:
                data = os.pread(descriptor, size, offset)
                work.did(read=len(data))
                work.check(data == wanted[offset : offset + size], f"{path} is wrong at offset {offset}")
    finally:
        os.close(descriptor)
    work.check_file(path, bytes(wanted))
    path.unlink()
    work.did()


def metadata(work: Workload) -> None:
    """Make, look at, rename and remove many small files."""
    count = work.times(300)
    names = [f"{number:05}-{work.chance.getrandbits(32):08x}" for number in range(count)]
    for name in names:
        (work.root / name).touch(mode=0o640)
        work.did()
    work.check_names(work.root, set(names))
    work.chance.shuffle(names)
    for name in names:
        _restamp(work, work.root / name)
    for name in names:
        (work.root / name).rename(work.root / f"{name}.new")
        work.did()
    work.check_names(work.root, {f"{name}.new" for name in names})
    for name in names:
        (work.root / f"{name}.new").unlink()
        work.did()
    work.check_names(work.root, set())


PROFILES: dict[str, Callable[[Workload], None]] = {
    "shell": shell,
    "sequential": sequential,
    "random": scattered,
    "metadata": metadata,
}


def _plant(work: Workload, project: Path) -> dict[Path, bytes]:
    """Make a small tree; return its files, relative to it, and what they hold."""
    files = {}
    project.mkdir()
    for part in ("src", "docs", "src/deep"):
        (project / part).mkdir()
        work.did()
        for number in range(3):
            name = Path(part) / f"file{number}.txt"
            files[name] = work.chance.randbytes(work.chance.randrange(20_000))
            work.write(project / name, files[name])
    return files


def _compare(work: Workload, tree: Path, files: dict[Path, bytes]) -> None:
    for name, data in files.items():
        work.check_file(tree / name, data)
        shown = work.command("cat", tree / name)
        work.check(shown == data, f"cat shows something else than {tree / name} holds")


def _links(work: Workload, project: Path, name: Path, data: bytes) -> None:
    original, hard, soft = project / name, project / "hard", project / "soft"
    work.command("ln", original, hard)
    work.command("ln", "-s", name, soft)
    work.check(original.stat().st_nlink == 2, f"{original} does not have two names")
    work.check(soft.readlink() == name, f"{soft} points elsewhere")
    work.check_file(soft, data)
    label = work.chance.randbytes(40)
    os.setxattr(hard, "user.label", label)
    work.check(os.getxattr(original, "user.label") == label, f"{original} lost its extended attribute")
    for _ in range(4):
        work.did()


def _restamp(work: Workload, path: Path) -> None:
    second = work.chance.randrange(1 << 31)
    mode = work.chance.choice((0o600, 0o640, 0o644, 0o755))
    path.chmod(mode)
    os.utime(path, (second, second))
    status = path.stat()
    for _ in range(3):
        work.did()
    work.check(status.st_mode & 0o777 == mode, f"{path} has another mode than was set")
    work.check(int(status.st_mtime) == second, f"{path} has another time than was set")
