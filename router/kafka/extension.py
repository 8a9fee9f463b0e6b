"""Looks whether the Kafka library runs at full speed."""

from __future__ import annotations

import logging
from functools import cache

log = logging.getLogger("router.kafka")


@cache
def has_compiled_extension() -> bool:
    """The library's compiled extension is in use; without it reading is 44 times slower.

    Its absence is logged as an error, once.
    """
    from aiokafka.record import default_records

    is_compiled = default_records.DefaultRecordBatch.__module__ != default_records.__name__
    if not is_compiled:
        log.error(
            "aiokafka runs without its compiled extension, 44 times slower: install a wheel for "
            "this platform, and unset AIOKAFKA_NO_EXTENSIONS"
        )
    return is_compiled
