"""Makes pytest tell what a failed assertion of the suites compared; to be imported before them."""

import pytest

pytest.register_assert_rewrite(
    "router.testing.directories", "router.testing.ledgers", "router.testing.sinks"
)
