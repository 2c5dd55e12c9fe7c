"""What passthrough_ll was asked, against what strace saw its client ask, and what lay on the disk."""

import re
from collections import Counter
from collections.abc import Callable

import pytest

from furtrace.wire.opcodes import Opcode
from tests.live.protocol.capture import Capture, Fields
from tests.live.protocol.client import ODD_NAME
from tests.live.protocol.scenarios import Scenario
from tests.live.protocol.servers import Facts

pytestmark = pytest.mark.live
Captured = Callable[[str], Scenario]

ROOT = 1
NS = 1_000_000_000
O_LARGEFILE = "O_LARGEFILE"


@pytest.fixture
def files(captured: Captured) -> Scenario:
    return captured("files")


@pytest.fixture
def said(files: Scenario) -> Capture:
    return files.capture


def call(files: Scenario, pattern: str) -> tuple[str, ...]:
    """The groups of the only line of strace in which a pattern is."""
    (found,) = re.finditer(pattern, files.facts["strace"])
    return tuple(found.groups())


def flags(text: str) -> set[str]:
    return set(text.split("|"))


def assert_attributes(fields: Fields, prefix: str, told: Facts) -> None:
    """Compare ``fuse_attr`` with what stat(2) told of the file."""
    for name in ("ino", "size", "blocks", "mode", "nlink", "uid", "gid", "blksize"):
        assert fields[f"{prefix}.{name}"] == told[f"st_{name}"], name
    for name in ("atime", "mtime", "ctime"):
        seconds = fields.number(f"{prefix}.{name}") & (1 << 64) - 1
        nanoseconds = (seconds - (seconds >> 63 << 64)) * NS + fields.number(f"{prefix}.{name}nsec")
        assert nanoseconds == told[f"st_{name}_ns"], name


def test_who_asks(files: Scenario, said: Capture) -> None:
    mkdir = said.one(Opcode.MKDIR, {"name": b"dir"}).asked
    assert mkdir["fuse_in_header.pid"] == files.facts["pid"]
    assert (mkdir["fuse_in_header.uid"], mkdir["fuse_in_header.gid"]) == (0, 0)


def test_mkdir_and_rmdir(files: Scenario, said: Capture) -> None:
    (mode,) = call(files, r'mkdir\("[^"]*/dir", (\d+)\) += 0')
    mkdir = said.one(Opcode.MKDIR, {"name": b"dir"})
    assert mkdir.asked["fuse_in_header.nodeid"] == ROOT
    assert mkdir.asked["fuse_mkdir_in.umask"] == 0o027
    assert mkdir.asked["fuse_mkdir_in.mode"] == int(mode, 8) & ~0o027
    assert mkdir.answered["fuse_entry_out.attr.mode"] == files.facts["disk"]["dir"]["st_mode"] == 0o40750
    assert mkdir.answered["fuse_entry_out.attr.ino"] == files.facts["disk"]["dir"]["st_ino"]
    assert said.one(Opcode.RMDIR, {"name": b"empty"}).error == 0
    assert said.one(Opcode.RMDIR, {"name": b"dir"}).error == files.facts["errors"]["ENOTEMPTY"]


def test_a_name_that_is_no_text(said: Capture) -> None:
    mkdir = said.one(Opcode.MKDIR, {"name": ODD_NAME})
    assert mkdir.asked.words("name") == r'"odd \xff\n"'


def test_create_open_and_close(files: Scenario, said: Capture) -> None:
    asked, mode = call(files, r'openat\(AT_FDCWD, "[^"]*/dir/file", (\S+), (\d+)\) += \d')
    create = said.one(Opcode.CREATE, {"name": b"file"})
    assert create.asked["fuse_in_header.nodeid"] == said.node(b"dir")
    assert flags(create.asked.words("fuse_create_in.flags")) - {O_LARGEFILE} == flags(asked) - {"O_CLOEXEC"}
    assert create.asked["fuse_create_in.mode"] == 0o100000 | int(mode, 8) & ~0o027
    assert create.answered["fuse_open_out.open_flags"] == 1 | 1 << 6  # FOPEN_DIRECT_IO, FOPEN_PARALLEL_DIRECT_WRITES
    node, handle = create.answered["fuse_entry_out.nodeid"], create.answered["fuse_open_out.fh"]
    release = said.one(Opcode.RELEASE, {"fuse_in_header.nodeid": node})
    assert release.asked["fuse_release_in.fh"] == handle
    assert release.asked.words("fuse_release_in.flags") == "O_RDWR|O_LARGEFILE"
    assert release.asked.words("fuse_release_in.release_flags") == "FUSE_RELEASE_FLOCK_UNLOCK"
    flush = said.one(Opcode.FLUSH, {"fuse_in_header.nodeid": node})
    assert flush.asked["fuse_flush_in.fh"] == handle
    # The kernel disguises who owns a lock, but always in the same way.
    write = said.one(Opcode.WRITE)
    assert flush.asked["fuse_flush_in.lock_owner"] == write.asked["fuse_write_in.lock_owner"]

    (asked,) = call(files, r'openat\(AT_FDCWD, "[^"]*/dir/copy", (\S+)\) += \d')
    opened = said.one(Opcode.OPEN)
    assert opened.asked["fuse_in_header.nodeid"] == said.node(b"copy")
    assert flags(opened.asked.words("fuse_open_in.flags")) - {O_LARGEFILE} == flags(asked) - {"O_CLOEXEC"}


def test_a_file_without_a_name(files: Scenario, said: Capture) -> None:
    if said.minor < 37:
        pytest.skip("this kernel does not know TMPFILE")
    asked, mode = call(files, r'openat\(AT_FDCWD, "[^"]*/dir", (\S*O_TMPFILE\S*), (\d+)\) += \d')
    tmpfile = said.one(Opcode.TMPFILE)
    assert tmpfile.asked["fuse_in_header.nodeid"] == said.node(b"dir")
    # O_TMPFILE has O_DIRECTORY in it.
    shown = flags(tmpfile.asked.words("fuse_create_in.flags")) - {O_LARGEFILE, "O_DIRECTORY"}
    assert shown == flags(asked) - {"O_CLOEXEC"}
    assert tmpfile.asked["fuse_create_in.mode"] == 0o100000 | int(mode, 8)
    assert tmpfile.answered["fuse_entry_out.attr.nlink"] == 0


def test_write_and_read(files: Scenario, said: Capture) -> None:
    written, size, offset = call(files, r'pwrite64\(\d+, "(\w+)", (\d+), (\d+)\) += 10')
    node = said.node(b"file")
    write = said.one(Opcode.WRITE, {"fuse_in_header.nodeid": node})
    assert write.asked["data"] == written.encode()
    assert (write.asked["fuse_write_in.size"], write.asked["fuse_write_in.offset"]) == (int(size), int(offset))
    assert write.answered["fuse_write_out.size"] == int(size)
    had, size, offset = call(files, r'pread64\(\d+, "(\w+)", (\d+), (\d+)\) += 5')
    read = said.one(Opcode.READ, {"fuse_in_header.nodeid": node})
    assert (read.asked["fuse_read_in.size"], read.asked["fuse_read_in.offset"]) == (int(size), int(offset))
    assert read.answered["data"] == had.encode() == b"23456"
    assert bytes.fromhex(files.facts["content"])[int(offset) :][: int(size)] == read.answered["data"]


def test_seek(files: Scenario, said: Capture) -> None:
    for whence in ("SEEK_DATA", "SEEK_HOLE"):
        offset, result = call(files, rf"lseek\(\d+, (\d+), {whence}\) += (\d+)")
        lseek = said.one(Opcode.LSEEK, {"fuse_lseek_in.whence": {"SEEK_DATA": 3, "SEEK_HOLE": 4}[whence]})
        assert lseek.asked.words("fuse_lseek_in.whence") == whence
        assert lseek.asked["fuse_lseek_in.offset"] == int(offset)
        assert lseek.answered["fuse_lseek_out.offset"] == int(result)
    # Where the end is only the attributes tell, which are asked of the open file.
    getattr_ = said.one(Opcode.GETATTR, {"fuse_getattr_in.getattr_flags": 1})
    handle = said.one(Opcode.CREATE, {"name": b"file"}).answered["fuse_open_out.fh"]
    assert getattr_.asked["fuse_getattr_in.fh"] == handle
    assert getattr_.answered["fuse_attr_out.attr.size"] == files.facts["open"]["end"] == 4106


def test_fallocate(files: Scenario, said: Capture) -> None:
    calls = re.findall(r"fallocate\(\d+, (\S+), (\d+), (\d+)\) += 0", files.facts["strace"])
    asked = [one.asked for one in said.all(Opcode.FALLOCATE)]
    assert len(calls) == len(asked) == 2
    for (mode, offset, length), fields in zip(calls, asked, strict=True):
        assert flags(fields.words("fuse_fallocate_in.mode")) == flags(mode)
        assert fields["fuse_fallocate_in.offset"] == int(offset)
        assert fields["fuse_fallocate_in.length"] == int(length)


def test_fsync(said: Capture) -> None:
    whole, data = (one.asked for one in said.all(Opcode.FSYNC))
    assert whole["fuse_fsync_in.fsync_flags"] == 0
    assert data.words("fuse_fsync_in.fsync_flags") == "FUSE_FSYNC_FDATASYNC"
    opened = said.all(Opcode.OPENDIR)[-1]
    (folder,) = said.all(Opcode.FSYNCDIR)
    assert folder.asked["fuse_fsync_in.fh"] == opened.answered["fuse_open_out.fh"]
    assert folder.asked["fuse_in_header.nodeid"] == said.node(b"dir")


def test_copy_file_range(files: Scenario, said: Capture) -> None:
    start, to, size, copied = call(files, r"copy_file_range\(\d+, \[(\d+).*?\], \d+, \[(\d+).*?\], (\d+), 0\) += (\d+)")
    newest = said.minor >= 45
    copy = said.one(Opcode.COPY_FILE_RANGE_64 if newest else Opcode.COPY_FILE_RANGE)
    create, opened = said.one(Opcode.CREATE, {"name": b"file"}), said.one(Opcode.OPEN)
    expected = {
        "fuse_in_header.nodeid": said.node(b"file"),
        "fuse_copy_file_range_in.nodeid_out": said.node(b"copy"),
        "fuse_copy_file_range_in.fh_in": create.answered["fuse_open_out.fh"],
        "fuse_copy_file_range_in.fh_out": opened.answered["fuse_open_out.fh"],
        "fuse_copy_file_range_in.off_in": int(start),
        "fuse_copy_file_range_in.off_out": int(to),
        "fuse_copy_file_range_in.len": int(size),
    }
    assert {name: copy.asked[name] for name in expected} == expected
    field = "fuse_copy_file_range_out.bytes_copied" if newest else "fuse_write_out.size"
    assert copy.answered[field] == int(copied) == 8


def test_flock(files: Scenario, said: Capture) -> None:
    calls = re.findall(r"flock\(\d+, (LOCK_\S+)\) += 0", files.facts["strace"])
    assert calls == ["LOCK_SH|LOCK_NB", "LOCK_EX", "LOCK_UN"]
    asked = [one.asked for one in said.all(Opcode.SETLK) + said.all(Opcode.SETLKW)]
    assert [one.words("fuse_lk_in.lk.type") for one in asked] == ["F_RDLCK", "F_WRLCK", "F_UNLCK"]
    assert {one.words("fuse_lk_in.lk_flags") for one in asked} == {"FUSE_LK_FLOCK"}
    assert [one["fuse_lk_in.lk.pid"] for one in asked] == [files.facts["pid"]] * 2 + [0]
    assert len({one["fuse_lk_in.owner"] for one in asked}) == 1


def test_mknod(files: Scenario, said: Capture) -> None:
    kind, major, minor = call(files, r'mknodat\(\S+ "[^"]*/device", (\S+), makedev\((\w+), (\w+)\)\) += 0')
    assert kind == "S_IFCHR|0660"
    mknod = said.one(Opcode.MKNOD, {"name": b"device"})
    assert mknod.asked["fuse_mknod_in.mode"] == 0o20640
    assert mknod.asked.words("fuse_mknod_in.rdev") == f"{int(major, 16)}:{int(minor, 16)}"
    assert mknod.answered.words("fuse_entry_out.attr.rdev") == "259:1234"
    assert said.one(Opcode.MKNOD, {"name": b"pipe"}).asked["fuse_mknod_in.mode"] == 0o10600


def test_links(files: Scenario, said: Capture) -> None:
    (target,) = call(files, r'symlink\("([^"]+)", "[^"]*/dir/link"\) += 0')
    symlink = said.one(Opcode.SYMLINK)
    assert (symlink.asked["name"], symlink.asked["target"]) == (b"link", target.encode())
    readlink = said.one(Opcode.READLINK, {"fuse_in_header.nodeid": said.node(b"link")})
    assert readlink.answered["target"] == b"../some/target"
    link = said.one(Opcode.LINK)
    assert link.asked["fuse_in_header.nodeid"] == said.node(b"dir")
    assert link.asked["fuse_link_in.oldnodeid"] == said.node(b"file")
    assert link.asked["newname"] == b"hard"
    assert link.answered["fuse_entry_out.attr.nlink"] == 2
    assert said.one(Opcode.UNLINK).asked["name"] == b"moved"


def test_rename(files: Scenario, said: Capture) -> None:
    rename = said.one(Opcode.RENAME).asked
    assert rename["fuse_in_header.nodeid"] == said.node(b"dir")
    assert rename["fuse_rename_in.newdir"] == ROOT
    assert (rename["oldname"], rename["newname"]) == (b"hard", b"moved")
    calls = re.findall(r'renameat2\(\S+ "[^"]*/(\w+)", \S+ "[^"]*/(\w+)", (\w+)\)', files.facts["strace"])
    asked = [one.asked for one in said.all(Opcode.RENAME2)]
    seen = [(one.data("oldname"), one.data("newname"), one.words("fuse_rename2_in.flags")) for one in asked]
    assert seen == [(old.encode(), new.encode(), flag) for old, new, flag in calls]
    assert [flag for _, _, flag in seen] == ["RENAME_NOREPLACE", "RENAME_EXCHANGE"]


def test_setattr(files: Scenario, said: Capture) -> None:
    by_flags = {one.asked.words("fuse_setattr_in.valid"): one for one in said.all(Opcode.SETATTR)}
    chown = by_flags["FATTR_UID|FATTR_GID"].asked
    assert (chown["fuse_setattr_in.uid"], chown["fuse_setattr_in.gid"]) == (1234, 5678)
    assert by_flags["FATTR_MODE"].asked.words("fuse_setattr_in.mode") == "0104751 -rwsr-x--x"
    assert by_flags["FATTR_SIZE|FATTR_LOCKOWNER"].asked["fuse_setattr_in.size"] == 3
    shortened = by_flags["FATTR_SIZE|FATTR_FH|FATTR_LOCKOWNER"]
    assert shortened.asked["fuse_setattr_in.size"] == shortened.answered["fuse_attr_out.attr.size"] == 5000
    assert shortened.asked["fuse_setattr_in.fh"] == said.one(Opcode.WRITE).asked["fuse_write_in.fh"]
    assert "FATTR_ATIME|FATTR_MTIME|FATTR_ATIME_NOW|FATTR_MTIME_NOW" in by_flags


def test_times(files: Scenario, said: Capture) -> None:
    shown = call(
        files, r"utimensat\(AT_FDCWD, \S+ \[\{tv_sec=\S+ tv_nsec=\d+\} /\* (\S+)\+0000 \*/, .*?/\* (\S+)\+0000"
    )
    utimes = said.one(Opcode.SETATTR, {"fuse_setattr_in.valid": 1 << 4 | 1 << 5})
    words = [utimes.asked.words(f"fuse_setattr_in.{name}") for name in ("atime", "mtime")]
    assert words == [f"{moment}Z" for moment in shown]
    assert words[0] == "1969-12-31T23:59:58.999999999Z"
    assert utimes.answered.words("fuse_attr_out.attr.atime") == words[0]


def test_attributes_are_those_on_the_disk(files: Scenario, said: Capture) -> None:
    last = said.all(Opcode.LOOKUP, {"name": b"file"})[-1].answered
    assert_attributes(last, "fuse_entry_out.attr", files.facts["disk"]["file"])
    assert_attributes(last, "fuse_entry_out.attr", files.facts["stat"])
    assert last["fuse_entry_out.attr_valid"] == 0


def test_statx(files: Scenario, said: Capture) -> None:
    if said.minor < 39:
        pytest.skip("this kernel does not know STATX")
    statx = said.one(Opcode.STATX)
    assert statx.asked["fuse_statx_in.sx_mask"] == 0xFFF
    answered, prefix, told = statx.answered, "fuse_statx_out.stat", files.facts["disk"]["file"]
    for name in ("ino", "size", "blocks", "mode", "nlink", "uid", "gid", "blksize"):
        assert answered[f"{prefix}.{name}"] == told[f"st_{name}"], name
    for name in ("atime", "mtime", "ctime"):
        seconds, nanoseconds = (answered.number(f"{prefix}.{name}.{part}") for part in ("tv_sec", "tv_nsec"))
        assert seconds * NS + nanoseconds == told[f"st_{name}_ns"]
    birth = [answered[f"{prefix}.btime.{part}"] for part in ("tv_sec", "tv_nsec")]
    assert birth == files.facts["statx"]["btime"]
    assert flags(answered.words(f"{prefix}.mask")) >= {"STATX_BTIME", "STATX_SIZE"}


def test_extended_attributes(files: Scenario, said: Capture) -> None:
    told = files.facts["xattr"]
    set_ = said.one(Opcode.SETXATTR, {"attribute": b"user.color"}).asked
    assert set_["value"] == bytes.fromhex(told["value"]) == b"blue\0\xff"
    assert set_.words("fuse_setxattr_in.flags") == "XATTR_CREATE"
    size, value = said.all(Opcode.GETXATTR, {"attribute": b"user.color"})
    assert size.asked["fuse_getxattr_in.size"] == 0
    assert size.answered["fuse_getxattr_out.size"] == told["size"] == 6
    assert value.asked["fuse_getxattr_in.size"] == 128
    assert value.answered["value"] == b"blue\0\xff"
    size, names = said.all(Opcode.LISTXATTR)
    assert size.answered["fuse_getxattr_out.size"] == told["list size"]
    assert names.answered.all("attribute") == [name.encode() for name in told["list"]]
    assert said.one(Opcode.REMOVEXATTR).asked["attribute"] == b"user.b"
    absent = said.one(Opcode.GETXATTR, {"attribute": b"user.absent"})
    assert absent.error == files.facts["errors"]["ENODATA"]
    assert absent.answered.words("fuse_out_header.error") == "-ENODATA"


def test_what_is_not_there(files: Scenario, said: Capture) -> None:
    lookup = said.one(Opcode.LOOKUP, {"name": b"absent"})
    assert lookup.error == files.facts["errors"]["ENOENT"]
    assert lookup.answered.words("fuse_out_header.error") == "-ENOENT"


def test_a_folder(files: Scenario, said: Capture) -> None:
    plus = said.one(Opcode.READDIRPLUS).answered
    names = [name for name in plus.all("entry.name") if name not in (b".", b"..")]
    assert names == [name.encode() for name in files.facts["entries"]]
    modes = [mode for mode in plus.all("entry.fuse_direntplus.entry_out.attr.mode") if mode]
    inodes = dict(zip(plus.all("entry.name"), plus.all("entry.fuse_direntplus.dirent.ino"), strict=True))
    for name, told in files.facts["disk"].items():
        if name != "dir":
            assert inodes[name.encode()] == told["st_ino"]
            assert told["st_mode"] in modes
    # The next request goes on where the last entry said.
    rest = said.one(Opcode.READDIR).asked
    assert rest["fuse_read_in.offset"] == plus.all("entry.fuse_direntplus.dirent.off")[-1]
    opened, released = said.first(Opcode.OPENDIR), said.first(Opcode.RELEASEDIR)
    assert rest["fuse_read_in.fh"] == opened.answered["fuse_open_out.fh"] == released.asked["fuse_release_in.fh"]


def test_statfs(files: Scenario, said: Capture) -> None:
    told = files.facts["statfs"]
    names = {"blocks": "f_blocks", "files": "f_files", "namelen": "f_namemax", "frsize": "f_frsize"}
    for one in said.all(Opcode.STATFS):
        seen = {name: one.answered[f"fuse_statfs_out.st.{name}"] for name in names}
        assert seen == {name: told[theirs] for name, theirs in names.items()}


def test_every_lookup_is_forgotten(said: Capture) -> None:
    """The kernel counts how often it was told of a node, and gives back just as many."""
    told, forgotten = Counter[object](), Counter[object]()
    for one in said.exchanges:
        if one.opcode == Opcode.FORGET:
            forgotten[one.asked["fuse_in_header.nodeid"]] += one.asked.number("fuse_forget_in.nlookup")
        elif one.opcode == Opcode.BATCH_FORGET:
            counts = one.asked.all("fuse_forget_one.nlookup")
            assert len(counts) == one.asked["fuse_batch_forget_in.count"]
            for node, count in zip(one.asked.all("fuse_forget_one.nodeid"), counts, strict=True):
                assert isinstance(count, int)
                forgotten[node] += count
        elif one.opcode == Opcode.READDIRPLUS:
            told.update(node for node in one.answered.all("entry.fuse_direntplus.entry_out.nodeid") if node)
        elif one.reply and not one.error:
            told.update(one.answered.all("fuse_entry_out.nodeid"))
    assert forgotten == told
    assert len(told) > 40
