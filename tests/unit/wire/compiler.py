"""What the C compiler makes of the kernel's headers."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

X86 = "x86_64-linux-gnu"
"""Where the header's of a machine are."""


class Compiler:
    """Asks gcc about headers of ``uapi``, a folder laid out as ``usr/include``."""

    def __init__(self, gcc: str, uapi: Path, folder: Path) -> None:
        self._gcc = gcc
        self.uapi = uapi
        self._folder = folder

    def values(self, headers: Iterable[str], expressions: Iterable[str], machine: str = X86) -> list[int]:
        """Return the values of integer expressions, in their order; an unsigned one keeps its value."""
        lines = "".join(
            f'  printf("%s%llu\\n", ({one}) < 0 ? "-" : "", ({one}) < 0 ? -(unsigned long long) ({one}) : '
            f"(unsigned long long) ({one}));\n"
            for one in expressions
        )
        includes = "".join(f"#include <{header}>\n" for header in ("stddef.h", "stdio.h", *headers))
        source, program = self._folder / "values.c", self._folder / "values"
        source.write_text(f"{includes}int main(void)\n{{\n{lines}}}\n")
        subprocess.run([self._gcc, "-w", *self._flags(machine), "-o", program, source], check=True)
        return [int(line) for line in subprocess.check_output([program], text=True).splitlines()]

    def macros(
        self, header: str, prefixes: tuple[str, ...], machine: str = X86, but: tuple[str, ...] = ()
    ) -> dict[str, int]:
        """Return the values of the macros that a header defines itself, and whose names have one of the prefixes.

        Those that take arguments or stand for nothing, or whose names begin as ``but``, are left out.
        """
        text = self._header(header, machine).read_text()
        found = re.findall(r"^#\s*define\s+(\w+)[ \t]+[^\s/]", text, re.MULTILINE)
        names = [name for name in dict.fromkeys(found) if name.startswith(prefixes) and not name.startswith(but)]
        return dict(zip(names, self.values([header], names, machine), strict=True))

    def enumeration(self, header: str, name: str) -> dict[str, int]:
        """Return the members of an enumeration."""
        text = re.sub(r"/\*.*?\*/", "", self._header(header, X86).read_text(), flags=re.DOTALL)
        body = re.search(rf"enum {name} {{(.*?)}}", text, re.DOTALL)
        assert body, name
        members = re.findall(r"(\w+)\s*(?:=[^,]*)?(?:,|$)", body[1].strip())
        return dict(zip(members, self.values([header], members), strict=True))

    def _header(self, header: str, machine: str) -> Path:
        return next(path for path in (self.uapi / header, self._machine(machine) / header) if path.exists())

    def _machine(self, machine: str) -> Path:
        return self.uapi / machine

    def _flags(self, machine: str) -> list[str]:
        return ["-I", str(self._machine(machine)), "-I", str(self.uapi)]
