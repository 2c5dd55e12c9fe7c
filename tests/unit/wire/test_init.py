"""The forms of INIT, old and new, and its flags."""

import pytest

from furtrace.wire import init
from furtrace.wire.errors import DecodeError
from furtrace.wire.flags import InitFlag, flag_names, init_flag_bits, init_flag_names

REPLY = init.INIT_OUT.build(
    init.InitOut(
        major=7,
        minor=46,
        max_readahead=131072,
        flags=InitFlag.ASYNC_READ | InitFlag.INIT_EXT,
        max_background=12,
        congestion_threshold=9,
        max_write=1048576,
        time_gran=1,
        max_pages=256,
        map_alignment=0,
        flags2=InitFlag.OVER_IO_URING >> 32,
        max_stack_depth=0,
        request_timeout=0,
        unused=(0,) * 11,
    )
)


def test_a_request_of_today() -> None:
    request = init.InitIn(7, 46, 131072, InitFlag.INIT_EXT | InitFlag.POSIX_ACL, 1 << 9 | 1 << 11, (0,) * 11)
    parsed = init.parse_init_in(init.INIT_IN.build(request))
    assert parsed == request
    names = ("POSIX_ACL", "INIT_EXT", "OVER_IO_URING", "HAS_IO_URING_BUFPOOL")
    assert init_flag_names(parsed.flag_bits) == names


def test_a_request_of_16_bytes() -> None:
    parsed = init.parse_init_in(init.INIT_IN_COMPAT.build(init.InitInCompat(7, 31, 0, 1)))
    assert type(parsed) is init.InitInCompat
    assert parsed.flag_bits == InitFlag.ASYNC_READ


@pytest.mark.parametrize("length", [0, 15, 17, 63])
def test_no_kernel_sends_a_request_of_another_length(length: int) -> None:
    with pytest.raises(DecodeError, match=f"^fuse_init_in: 64 bytes needed, {length} given"):
        init.parse_init_in(bytes(length))


@pytest.mark.parametrize(
    ("length", "form", "names"),
    [
        (8, init.InitOutCompat, ()),
        (9, init.InitOutCompat22, ()),
        (24, init.InitOutCompat22, ("ASYNC_READ", "INIT_EXT")),
        (25, init.InitOut, ("ASYNC_READ", "INIT_EXT")),
        (36, init.InitOut, ("ASYNC_READ", "INIT_EXT", "OVER_IO_URING")),
        (64, init.InitOut, ("ASYNC_READ", "INIT_EXT", "OVER_IO_URING")),
    ],
)
def test_a_reply_is_as_long_as_the_server_is_old(length: int, form: type, names: tuple[str, ...]) -> None:
    parsed = init.parse_init_out(REPLY[:length])
    assert type(parsed) is form
    assert (parsed.major, parsed.minor) == (7, 46)
    assert init_flag_names(parsed.flag_bits) == names


def test_a_reply_of_less_than_a_version() -> None:
    with pytest.raises(DecodeError, match=r"^fuse_init_out: 8 bytes needed, 5 given, inside minor$"):
        init.parse_init_out(REPLY[:5])


def test_flags2_counts_only_with_init_ext() -> None:
    assert init_flag_bits(InitFlag.INIT_EXT, 1 << 9) == InitFlag.INIT_EXT | InitFlag.OVER_IO_URING
    assert init_flag_bits(InitFlag.ASYNC_READ, 1 << 9) == InitFlag.ASYNC_READ


def test_names_come_in_the_order_of_bits_and_unknown_ones_as_hex() -> None:
    bits = InitFlag.OVER_IO_URING | 1 << 63 | InitFlag.POSIX_LOCKS | 1 << 50
    assert init_flag_names(bits) == ("POSIX_LOCKS", "OVER_IO_URING", "0x4000000000000", "0x8000000000000000")
    assert flag_names(0, InitFlag) == ()
