"""Ordinary programs on the mount, and several at once."""

import filecmp
import subprocess
import sys
from pathlib import Path

import pytest

from furtrace.demo import traffic
from furtrace.demo.process import DemoServer
from tests.live.demo.conftest import witnessed

pytestmark = pytest.mark.live

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


def run(where: Path, *words: str | Path) -> str:
    done = subprocess.run(words, cwd=where, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def same(one: Path, other: Path) -> bool:
    compared = filecmp.dircmp(one, other)
    if compared.left_only or compared.right_only or compared.funny_files:
        return False
    _match, mismatch, errors = filecmp.cmpfiles(one, other, compared.common_files, shallow=False)
    return not mismatch and not errors and all(same(one / name, other / name) for name in compared.common_dirs)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a tree with some hundred files of many sizes."""
    folder = tmp_path / "sources"
    for number in range(120):
        path = folder / f"d{number % 7}" / f"e{number % 3}" / f"f{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d\n" % number * (number**2 % 9000))
    (folder / "link").symlink_to("d0/e0/f0.txt")
    (folder / "run.sh").write_text("#!/bin/sh\necho it runs\n")
    (folder / "run.sh").chmod(0o755)
    return folder


def test_cp_find_tar_and_rm(root: Path, sources: Path, tmp_path: Path) -> None:
    run(root, "cp", "-r", sources, "copy")
    assert same(sources, root / "copy")
    assert run(root, "copy/run.sh") == "it runs\n"
    found = run(root, "find", "copy", "-type", "f").splitlines()
    assert len(found) == len(set(found)) == 121
    run(root, "cp", "-a", "copy", "again")
    assert same(root / "copy", root / "again")
    assert (root / "again" / "run.sh").stat().st_mtime_ns == (root / "copy" / "run.sh").stat().st_mtime_ns
    run(root, "tar", "-cf", tmp_path / "all.tar", "again")
    run(root, "rm", "-r", "again", "copy")
    assert list(root.iterdir()) == []
    run(root, "tar", "-xf", tmp_path / "all.tar")
    assert same(sources, root / "again")
    run(root, "mv", "again", "moved")
    assert run(root, "du", "-s", "moved").split()[1] == "moved"
    run(root, "rm", "-rf", "moved")


def test_git(root: Path, sources: Path) -> None:
    run(root, "git", "init", "-q", "one")
    run(root, "cp", "-r", sources, "one/sources")
    run(root / "one", "git", "add", ".")
    run(root / "one", "git", "commit", "-q", "-m", "first")
    run(root / "one", "git", "mv", "sources", "moved")
    run(root / "one", "git", "commit", "-q", "-m", "second")
    run(root / "one", "git", "gc", "-q")
    run(root, "git", "clone", "-q", "one", "two")
    assert run(root / "two", "git", "status", "--porcelain") == ""
    run(root / "two", "git", "fsck", "--full", "--strict")
    assert run(root / "two", "git", "log", "--format=%s").split() == ["second", "first"]
    assert same(sources, root / "two" / "moved")


def test_make_builds_only_what_changed(root: Path) -> None:
    for name in "abc":
        (root / f"{name}.c").write_text(f"int {name}(void) {{ return 1; }}\n")
    (root / "main.c").write_text("int a(void); int b(void); int c(void); int main(void) { return a()+b()+c()-3; }\n")
    (root / "Makefile").write_text("all: prog\nprog: a.o b.o c.o main.o\n\tcc -o $@ $^\n%.o: %.c\n\tcc -c -o $@ $<\n")
    assert run(root, "make", "-j4").count("cc -c") == 4
    run(root, root / "prog")
    assert "Nothing to be done" in run(root, "make")
    (root / "b.c").write_text("int b(void) { return 1; } /* changed */\n")
    assert run(root, "make").count("cc -c") == 1


@pytest.mark.parametrize("profile", ["shell", "sequential", "random", "metadata", "mixed"])
def test_traffic_verifies_what_it_reads(root: Path, profile: str) -> None:
    first = traffic.run(root, profile, 5, 0.3)
    assert first.operations > 20
    assert traffic.run(root, profile, 5, 0.3) == first
    assert list(root.iterdir()) == []


def test_processes_at_once(server: DemoServer, log: Path, uring: bool) -> None:
    command = [sys.executable, "-m", "furtrace.demo.traffic", str(server.mountpoint), "--scale", "0.5"]
    seeds = [str(seed) for seed in range(4)]
    running = [subprocess.Popen([*command, "--seed", seed], stdout=subprocess.PIPE, text=True) for seed in seeds]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert all(line.startswith("profile=mixed") for line in said)
    assert list(server.mountpoint.iterdir()) == []
    server.stop()
    used = {(seen["queue"], seen["entry"]) for seen in witnessed(log)}
    assert len(used) > 2 if uring else used == {(None, None)}
