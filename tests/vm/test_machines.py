"""What a machine does with commands and files, and that nothing gets out of it but results."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.vm.errors import HangError, KernelPanicError
from tests.vm.harness import RESULTS, Machine
from tests.vm.qemu import REPOSITORY

pytestmark = [pytest.mark.vm, pytest.mark.slow]


@pytest.fixture(scope="module")
def wanted() -> str:
    return "7.3"


def test_a_command_has_its_status_and_its_output(reported: Machine) -> None:
    done = reported.run("bash", "-c", "pwd; uname -r; echo 'two\nlines' >&2; exit 3")
    assert done.status == 3
    assert done.stdout.split() == [str(REPOSITORY), reported.kernel.release]
    assert done.stderr == "two\nlines\n"
    assert reported.run("true").status == 0


def test_much_output_comes_whole(reported: Machine) -> None:
    done = reported.run("seq", "200000")
    assert done.stdout.split() == [str(number) for number in range(1, 200001)]


@pytest.mark.parametrize("folder", [Path("/etc"), Path("/usr"), REPOSITORY, REPOSITORY / ".cache"])
def test_what_it_writes_stays_in_it(reported: Machine, folder: Path) -> None:
    file = folder / "written-in-a-virtual-machine"
    assert reported.run("bash", "-c", 'echo text > "$0" && cat "$0"', str(file)).stdout == "text\n"
    assert not file.exists()


def test_it_changes_no_file_that_is_here(reported: Machine) -> None:
    file = REPOSITORY / "pyproject.toml"
    before = file.read_bytes()
    done = reported.run("bash", "-c", 'echo "# more" >> "$0" && tail -n 1 "$0" && rm "$0"', str(file))
    assert (done.status, done.stdout) == (0, "# more\n")
    assert reported.run("test", "-e", str(file)).status == 1
    assert file.read_bytes() == before


def test_the_root_directory_can_be_written_by_no_other_way(reported: Machine) -> None:
    """Below the memory over it, it is served by a process that can't write it."""
    script = "mount -t virtiofs root /mnt && mount -o remount,rw /mnt && grep ' /mnt ' /proc/mounts && ls /mnt/etc"
    assert "passwd" in reported.run("bash", "-c", script).stdout
    done = reported.run("touch", "/mnt/etc/written-in-a-virtual-machine")
    assert done.status == 1
    assert "Read-only file system" in done.stderr
    assert not Path("/etc/written-in-a-virtual-machine").exists()


def test_results_get_out(reported: Machine) -> None:
    done = reported.run("bash", "-c", f'[[ $RESULTS == {RESULTS} ]] && mkdir "$RESULTS/d" && seq 9999 > "$RESULTS/d/f"')
    assert done.status == 0
    assert (reported.results / "d/f").read_text().split() == [str(number) for number in range(1, 10000)]


def test_its_loopback_is_up(reported: Machine) -> None:
    assert "inet 127.0.0.1/8" in reported.run("ip", "address", "show", "lo").stdout


def test_a_hang_and_a_panic_are_told_apart(reported: Machine) -> None:
    """Last, for neither is survived."""
    script = "echo so far; (sleep 4; echo c > /proc/sysrq-trigger) & wait"
    with pytest.raises(HangError, match="within 1 s") as hang:
        reported.run("bash", "-c", script, timeout=1)
    assert "so far" in "".join(hang.value.__notes__)
    with pytest.raises(KernelPanicError, match="sysrq triggered crash"):
        reported.run("true", timeout=60)


def test_by_hand_without_the_kernel() -> None:
    """The command line says what is missing; its exit status is not a command's."""
    done = subprocess.run(
        [REPOSITORY / ".venv/bin/python", "-m", "tests.vm", "1.0", "--", "true"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    assert re.search(r"no kernel 1\.0|can't be had|machines need", done.stderr), done.stderr
