"""Codes of the findings of ``router check``: what is valid, and hardly meant."""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "R301": "A route can never match.",
    "R302": "A route does what another does.",
    "R303": "A fallback can never start, or helps nobody.",
    "R304": "A number is compared with text, or text with a number: never equal.",
    "R305": "A list is compared as if it were one value, or one value as if it were a list.",
    "R306": "A path is sent as it is written instead of the value that stands there.",
    "R307": "A step has nobody to send to.",
    "R308": "A delivery may be younger than the ledger's memory of it.",
    "R309": "A route collects a digest, and its template tells of one event only.",
    "R310": "A route can only cancel what is retried, for it keeps nothing back.",
    "R311": "Messages expire while they are kept back.",
    "R312": "A throttle never refuses anything.",
    "R313": "What ends a message never comes.",
    "R314": "An urgent message waits for its turn behind less urgent ones.",
    "T201": "No route uses a template.",
    "T202": "A template reads what no sample has.",
    "T203": "A template reads a digest, and no route that uses it has one.",
    "S401": "No route uses a sink.",
    "S402": "No route belongs to a category.",
    "S403": "A webhook is sent without a signature.",
    "S404": "Mail or its password crosses the network as plain text.",
    "S405": "The ledger of a production environment ends with its process.",
    "S406": "The ledger may lie on a disk that is lost.",
    "S407": "Real people would be written to from an environment that is not production.",
    "S408": "A source's pattern takes in what the router itself writes.",
    "S409": "A source reads the topic that a sink publishes on.",
    "S410": "A secret stands in a file as it is.",
    "S411": "The directory's file of people can't be used, or a time zone or locale in it is none.",
    "S412": "A variable is written without braces, and so is text.",
}
"""Every finding is a warning; ``--strict`` makes it count."""
