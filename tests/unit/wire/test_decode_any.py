"""What holds for arbitrary bytes, and for good messages that were changed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from furtrace.wire.decode import Context, Part, decode
from furtrace.wire.dialect import Dialect
from furtrace.wire.errors import DecodeError
from furtrace.wire.opcodes import Opcode
from tests.fuzz.calls import Mutator, Tally, bytes_of, call_of, seeds
from tests.unit.wire.invariants import check

CODES = st.none() | st.sampled_from([int(code) for code in Opcode]) | st.integers(0, 2**32 - 1)


@settings(max_examples=1000)
@given(
    data=st.binary(max_size=600),
    part=st.none() | st.sampled_from(Part),
    dialect=st.sampled_from(Dialect),
    opcode=CODES,
    command=st.none() | st.integers(0, 6) | st.integers(0, 2**32 - 1),
    buf_size=st.none() | st.integers(0, 2**32 - 1),
)
def test_arbitrary_bytes(
    data: bytes, part: Part | None, dialect: Dialect, opcode: int | None, command: int | None, buf_size: int | None
) -> None:
    context = Context(dialect, opcode, command, buf_size)
    if part in (Part.IN, Part.OUT) and opcode is None:
        with pytest.raises(DecodeError):
            decode(data, part, context)
        return
    decoded = decode(data, part, context)
    check(decoded, data)
    assert decode(bytearray(data), part, context) == decode(memoryview(data), part, context) == decoded
    assert part in (None, decoded.part)


def test_changed_messages() -> None:
    chance = random.Random("furtrace")
    mutator, tally = Mutator(), Tally()
    for seed in seeds():
        tally.run(seed)
    for _ in range(6000):
        tally.run(mutator(mutator.seed(chance), 8192, chance))
    assert tally.inputs > 6000
    assert tally.refused < tally.inputs / 10


def test_bytes_stand_for_calls() -> None:
    for seed in seeds():
        assert bytes_of(call_of(seed)) == seed
