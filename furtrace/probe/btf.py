"""C types of the running kernel, from its BTF through libbpf: no kernel headers are needed.

Sources: ``/sys/kernel/btf/vmlinux`` and, where fuse is a module, the split BTF in ``/sys/kernel/btf/fuse``.
libbpf's calls are in ``btf.h`` of libbpf 1.x.
"""

import ctypes
import ctypes.util
import functools
from collections.abc import Iterable
from pathlib import Path

from furtrace.probe.errors import ProbeError

BTF_DIRECTORY = Path("/sys/kernel/btf")
_FUSE = Path("/sys/module/fuse")  # there if it is built in, or loaded
_KIND_STRUCT, _KIND_UNION, _KIND_ENUM, _KIND_TYPEDEF, _KIND_FUNC = 4, 5, 6, 8, 12
_PRINTF = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class _Type(ctypes.Structure):
    """``struct btf_type`` (include/uapi/linux/btf.h), 12 bytes; its members follow it in memory."""

    _fields_ = (("name_off", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size_or_type", ctypes.c_uint32))

    @property
    def kind(self) -> int:
        return int(self.info >> 24 & 0x1F)

    @property
    def vlen(self) -> int:
        return int(self.info & 0xFFFF)

    @property
    def flag(self) -> bool:
        return bool(self.info >> 31)


class _Member(ctypes.Structure):
    """``struct btf_member``, 12 bytes."""

    _fields_ = (("name_off", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32))


class _Parameter(ctypes.Structure):
    """``struct btf_param``, 8 bytes."""

    _fields_ = (("name_off", ctypes.c_uint32), ("type", ctypes.c_uint32))


class _Enumerator(ctypes.Structure):
    """``struct btf_enum``, 8 bytes."""

    _fields_ = (("name_off", ctypes.c_uint32), ("value", ctypes.c_int32))


@functools.cache
def libbpf() -> ctypes.CDLL:
    """Load libbpf 1.x.

    Raises:
        ProbeError: it is not installed.
    """
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        raise ProbeError(
            "libbpf 1.x is not installed; install it (Debian and Ubuntu: libbpf1, Fedora and Arch: libbpf)."
        ) from None
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint
    signatures: dict[str, tuple[type | None, list[type]]] = {
        "btf__parse": (pointer, [text, pointer]),
        "btf__parse_split": (pointer, [text, pointer]),
        "btf__free": (None, [pointer]),
        "btf__find_by_name_kind": (ctypes.c_int, [pointer, text, number]),
        "btf__type_by_id": (ctypes.POINTER(_Type), [pointer, number]),
        "btf__name_by_offset": (text, [pointer, number]),
        "btf__type_cnt": (number, [pointer]),
        "btf_dump__new": (pointer, [pointer, _PRINTF, pointer, pointer]),
        "btf_dump__dump_type": (ctypes.c_int, [pointer, number]),
        "btf_dump__free": (None, [pointer]),
        "libbpf_set_print": (pointer, [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(None)  # what it has to say on stderr, our errors say in one sentence
    return library


def libbpf_version() -> str:
    """Libbpf's version, as in ``v1.1``.

    Raises:
        ProbeError: it is not installed.
    """
    ask = libbpf().libbpf_version_string
    ask.restype = ctypes.c_char_p
    return str(ask().decode())


class KernelTypes:
    """The types of one kernel.

    Args:
        vmlinux: BTF of the kernel itself, raw or in an ELF file.
        module: split BTF of the fuse module, where fuse is one; None: there is none.

    Raises:
        ProbeError: no BTF there, or it can't be read.
    """

    def __init__(self, vmlinux: Path, module: Path | None = None) -> None:
        self._lib = libbpf()
        self.module = module.name if module is not None else None
        """The module's name; None: there is none."""
        if not vmlinux.exists():
            raise ProbeError(
                f"This kernel offers no BTF ({vmlinux} is missing); furtrace needs a kernel built with "
                "CONFIG_DEBUG_INFO_BTF=y, as the stock kernels of Debian, Ubuntu, Fedora and Arch are."
            )
        self._base = self._lib.btf__parse(str(vmlinux).encode(), None)
        if not self._base:
            raise ProbeError(f"The kernel's BTF in {vmlinux} can't be read; furtrace can't tell its types.")
        self._btf = self._base
        if module is not None:
            self._btf = self._lib.btf__parse_split(str(module).encode(), self._base)
            if not self._btf:
                raise ProbeError(f"The module's BTF in {module} does not fit the kernel's; was the module rebuilt?")

    def _find(self, name: str, kind: int) -> int:
        return max(0, int(self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind)))

    def _type(self, type_id: int) -> _Type:
        kernel_type: _Type = self._lib.btf__type_by_id(self._btf, type_id).contents
        return kernel_type

    def _name(self, offset: int) -> str:
        return str((self._lib.btf__name_by_offset(self._btf, offset) or b"").decode())

    def members(self, struct: str) -> frozenset[str]:
        """Names of the members of ``struct``, those of anonymous members in it included; empty if there is none."""
        return frozenset(self.offsets(struct))

    def offsets(self, struct: str) -> dict[str, int]:
        """Offsets in bytes of the members of ``struct``, as :meth:`members`; of a bit field, of the byte it is in."""
        type_id = self._find(struct, _KIND_STRUCT)
        return {name: bits // 8 for name, bits, _ in self._members(type_id, 0)} if type_id else {}

    def bit_fields(self, struct: str) -> dict[str, int]:
        """Offsets in bits of the bit fields of ``struct``, as :meth:`members`."""
        type_id = self._find(struct, _KIND_STRUCT)
        return {name: bits for name, bits, is_bits in self._members(type_id, 0) if is_bits} if type_id else {}

    def _members(self, type_id: int, base: int) -> Iterable[tuple[str, int, bool]]:
        """Name, offset in bits, and whether it is a bit field, of each member; ``base`` bits are added to all."""
        struct = self._type(type_id)
        if struct.kind not in (_KIND_STRUCT, _KIND_UNION):
            return
        array = (_Member * struct.vlen).from_address(ctypes.addressof(struct) + ctypes.sizeof(_Type))
        for member in array:
            name = self._name(member.name_off)
            # With the kind flag set the upper 8 bits are a bit field's width (Documentation/bpf/btf.rst).
            offset, width = (member.offset & 0xFFFFFF, member.offset >> 24) if struct.flag else (member.offset, 0)
            if name:
                yield name, base + offset, bool(width)
            else:
                yield from self._members(member.type, base + offset)

    def size(self, struct: str) -> int:
        """Size of ``struct`` in bytes; 0 if there is none."""
        type_id = self._find(struct, _KIND_STRUCT)
        return int(self._type(type_id).size_or_type) if type_id else 0

    def enumerators(self, enum: str) -> dict[str, int]:
        """Names and values of ``enum``; empty if there is none."""
        type_id = self._find(enum, _KIND_ENUM)
        if not type_id:
            return {}
        found = self._type(type_id)
        array = (_Enumerator * found.vlen).from_address(ctypes.addressof(found) + ctypes.sizeof(_Type))
        return {self._name(item.name_off): int(item.value) for item in array}

    def function_id(self, name: str) -> int:
        """BTF id of a kernel function, which fentry needs; 0 if BTF does not know it."""
        return self._find(name, _KIND_FUNC)

    def parameters(self, function: str) -> tuple[str, ...] | None:
        """Names of the parameters of a kernel function, in their order; None if BTF does not know it."""
        type_id = self.function_id(function)
        if not type_id:
            return None
        prototype = self._type(self._type(type_id).size_or_type)
        array = (_Parameter * prototype.vlen).from_address(ctypes.addressof(prototype) + ctypes.sizeof(_Type))
        return tuple(self._name(parameter.name_off) for parameter in array)

    def in_module(self, type_id: int) -> bool:
        """Whether a type is the module's, not the kernel's own."""
        return self._btf != self._base and type_id >= int(self._lib.btf__type_cnt(self._base))

    def has_tracepoint(self, name: str) -> bool:
        """Whether the kernel has the tracepoint ``name`` (``fuse_request_send``)."""
        return self._find(f"btf_trace_{name}", _KIND_TYPEDEF) > 0

    def definitions(self, structs: Iterable[str], enums: Iterable[str] = ()) -> str:
        """C definitions of ``structs``, ``enums`` and all they need; those that this kernel lacks are left out."""
        libc = ctypes.CDLL(None)
        libc.vsnprintf.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
        chunks: list[bytes] = []
        buffer = ctypes.create_string_buffer(1 << 16)

        def collect(_context: int, form: bytes, arguments: int) -> None:
            libc.vsnprintf(buffer, len(buffer), form, arguments)
            chunks.append(buffer.value)

        callback = _PRINTF(collect)
        dump = self._lib.btf_dump__new(self._btf, callback, None, None)
        wanted = [(name, _KIND_STRUCT) for name in structs] + [(name, _KIND_ENUM) for name in enums]
        for name, kind in wanted:
            type_id = self._find(name, kind)
            if type_id:
                self._lib.btf_dump__dump_type(dump, type_id)
        self._lib.btf_dump__free(dump)
        return b"".join(chunks).decode()

    def feature_macros(self, structs: Iterable[str], enums: Iterable[str] = ()) -> str:
        """Lines ``#define HAVE_<struct>_<member>`` and ``HAVE_<enumerator>``: what a probe asks, never a version."""
        lines = [f"#define HAVE_{struct}_{member} 1" for struct in structs for member in sorted(self.members(struct))]
        lines += [f"#define HAVE_{name} 1" for enum in enums for name in self.enumerators(enum)]
        return "\n".join(lines) + "\n"

    def offset_macros(self, structs: Iterable[str]) -> str:
        """Lines ``#define OFFSET_<struct>_<member> <bytes>``, for structures too entangled to be defined in C."""
        lines = [
            f"#define OFFSET_{struct}_{name} {at}" for struct in structs for name, at in self.offsets(struct).items()
        ]
        return "\n".join(lines) + "\n"

    def bit_macros(self, structs: Iterable[str]) -> str:
        """Lines ``#define BIT_<struct>_<member> <bits>``: where bit fields are, of which C takes no address."""
        lines = []
        for struct in structs:
            type_id = self._find(struct, _KIND_STRUCT)
            for member, bits, is_bit_field in self._members(type_id, 0) if type_id else ():
                if is_bit_field:
                    lines.append(f"#define BIT_{struct}_{member} {bits}")
        return "\n".join(lines) + "\n"

    def layout_checks(self, structs: Iterable[str]) -> str:
        """C assertions that the definitions of ``structs`` have the kernel's own offsets and sizes.

        libbpf makes the definitions anew from BTF and has to guess at alignment; where it guesses wrong, a probe must
        not compile rather than read the wrong bytes.
        """
        lines = []
        for struct in structs:
            type_id = self._find(struct, _KIND_STRUCT)
            if type_id:
                size = f"sizeof(struct {struct}) == {self.size(struct)}"
                lines.append(f'_Static_assert({size}, "struct {struct} is not as large as BTF says");')
            for member, bits, is_bit_field in self._members(type_id, 0) if type_id else ():
                if not is_bit_field:
                    offset = f"__builtin_offsetof(struct {struct}, {member})"
                    lines.append(
                        f'_Static_assert({offset} == {bits // 8}, "struct {struct} is not laid out as BTF says");'
                    )
        return "\n".join(lines) + "\n"


@functools.cache
def running_kernel() -> KernelTypes:
    """Types of the running kernel, those of its fuse module included.

    Raises:
        ProbeError: it has no BTF, or no fuse, or a fuse module without BTF.
    """
    module = BTF_DIRECTORY / "fuse"
    types = KernelTypes(BTF_DIRECTORY / "vmlinux", module if module.exists() else None)
    if not types.members("fuse_req"):
        if _FUSE.exists():
            raise ProbeError(
                f"The module fuse is loaded, but without BTF ({module} is missing); furtrace needs one that was built "
                "with the kernel and CONFIG_DEBUG_INFO_BTF_MODULES=y, and that was not stripped of it."
            )
        raise ProbeError("This kernel has no FUSE, or its module is not loaded; try `modprobe fuse`.")
    return types
