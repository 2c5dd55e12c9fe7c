"""What the tests of real messages share."""

from collections.abc import Callable

import pytest

from tests.external import Unavailable
from tests.live.protocol.scenarios import Scenario, scenario

Captured = Callable[[str], Scenario]


@pytest.fixture(scope="session")
def captured() -> Captured:
    """Return a scenario by its name, or skip the test that asks if it can't be had."""

    def get(name: str) -> Scenario:
        try:
            return scenario(name)
        except Unavailable as reason:
            pytest.skip(str(reason))

    return get
