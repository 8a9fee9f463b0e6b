"""Makes pytest tell what a failed assertion of the suites compared; to be imported before them."""

import pytest

pytest.register_assert_rewrite(
    "router.testing.directories",
    "router.testing.ledger_digests",
    "router.testing.ledger_lives",
    "router.testing.ledger_order",
    "router.testing.ledger_races",
    "router.testing.ledger_rows",
    "router.testing.ledgers",
    "router.testing.sinks",
)
