"""The filters of templates."""

from __future__ import annotations

import pytest
from router_matrix.filters import matrix_to


@pytest.mark.parametrize(
    ("identifier", "link"),
    [
        ("@anna:acme.example", "https://matrix.to/#/@anna:acme.example"),
        ("#ops:acme.example", "https://matrix.to/#/%23ops:acme.example"),
        ("!a/b:acme.example", "https://matrix.to/#/!a%2Fb:acme.example"),
    ],
)
def test_links(identifier: str, link: str) -> None:
    assert matrix_to(identifier) == link
