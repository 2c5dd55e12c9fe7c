"""Fuzzes the decoder with atheris: ``python -m tests.fuzz.fuzz_decode -runs=1000000``.

Arguments are libFuzzer's. Each input chooses how the decoder is called with its first bytes (``calls.call_of``); the
good messages of the unit tests are where it starts from. What has to hold is in ``tests.unit.wire.invariants`` and
``calls.Tally``. An input that breaks it is left in ``crash-*``, and can be given as an argument to run it again.
"""

import importlib
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

MISSING = "The fuzzer needs atheris, which is not installed here: pip install 'atheris>=3.0'."


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        sys.exit(MISSING)


def _mutation(atheris: Any, mutate: Any) -> Callable[[bytes, int, int], bytes]:
    """Return libFuzzer's hook: one input in four is left to its own mutations, which know what was covered."""

    def custom(given: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if not chance.randrange(4):
            return bytes(atheris.Mutate(given, most))
        return bytes(mutate(given, most, chance))

    return custom


def _corpus(calls: Any) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="furtrace-fuzz-"))
    for index, seed in enumerate(calls.seeds()):
        (folder / f"seed-{index}").write_bytes(seed)
    return folder


def _reporting(tally: Any, runs: int, corpus: Path) -> Callable[[bytes], None]:
    """Return what runs one input; at the last one it reports and cleans up, since libFuzzer never returns."""

    def one(given: bytes) -> None:
        try:
            tally.run(given)
        except BaseException:
            print(f"Input {tally.inputs + 1}: {given!r}", flush=True)
            raise
        if tally.inputs == runs:
            print(tally.report(), flush=True)
            shutil.rmtree(corpus, ignore_errors=True)

    return one


def main() -> None:
    """Fuzz as long as the arguments say, then report."""
    atheris = _atheris()
    # What is instrumented is several times as slow, which would fail long names by the time they take.
    with atheris.instrument_imports(include=["furtrace.wire"], exclude=["furtrace.wire.text"]):
        calls = importlib.import_module("tests.fuzz.calls")
    runs = next((int(option[6:]) for option in sys.argv if option.startswith("-runs=")), -1)
    corpus = _corpus(calls)
    one = _reporting(calls.Tally(), runs, corpus)
    options = [f"-max_len={calls.CHOICES + calls.MOST_BYTES}", str(corpus)]
    atheris.Setup([*sys.argv, *options], one, custom_mutator=_mutation(atheris, calls.Mutator()))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
