"""Cost of decoding one record of about 1.1 kB, by format. Run ``python benchmarks/decode.py``."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import orjson

from router.events import DecodeConfig, Record, decode, peek_type

SECONDS = 0.5
DATA = {
    "user_id": "u-1001",
    "amount": {"minor": 149_000, "currency": "RUB"},
    "items": [{"sku": f"sku-{i}", "quantity": i, "price": i * 100} for i in range(12)],
    "note": "x" * 400,
}


def record(value: object, headers: dict[str, str]) -> Record:
    pairs = tuple((name, text.encode()) for name, text in headers.items())
    return Record("payments", 0, 7, 1_767_323_045.0, b"k", orjson.dumps(value), pairs)


def measure(call: Callable[[], object]) -> float:
    """CPU microseconds per call."""
    calls = 0
    started = process_time()
    while (spent := process_time() - started) < SECONDS:
        for _ in range(200):
            call()
        calls += 200
    return spent / calls * 1e6


def main() -> None:
    attributes = {
        "specversion": "1.0",
        "id": "evt-1",
        "source": "/payments",
        "type": "payment.failed",
        "time": "2026-11-24T07:30:00Z",
    }
    binary = record(DATA, {f"ce_{k}": v for k, v in attributes.items()})
    structured = record(
        {**attributes, "datacontenttype": "application/json", "data": DATA},
        {"content-type": "application/cloudevents+json"},
    )
    plain = record({"id": "evt-1", "type": "payment.failed", **DATA}, {})
    config = DecodeConfig()
    print(f"{'record':<36}{'CPU us':>8}")
    rows: list[tuple[str, Callable[[], object]]] = [
        ("plain JSON", lambda: decode(plain, config)),
        ("CloudEvents, structured", lambda: decode(structured, config)),
        ("CloudEvents, binary", lambda: decode(binary, config)),
        ("CloudEvents, binary, type only", lambda: peek_type(binary, config)),
    ]
    for name, call in rows:
        print(f"{name:<36}{measure(call):>8.2f}")


if __name__ == "__main__":
    main()
