"""Look-alikes of the providers on real sockets, their record, and a broker of one's own.

Nothing here shares code with the sinks: a look-alike that shares its client's code proves nothing.
"""

from router.sandbox.apns.settings import ApnsSettings
from router.sandbox.box import DEFAULT_PORTS, Sandbox, SandboxSettings, sandbox
from router.sandbox.broker import BrokerMissing, EmbeddedBroker, embedded_broker
from router.sandbox.carrotquest import CarrotquestSettings
from router.sandbox.certificates import CryptographyMissing
from router.sandbox.faults import ANY_TARGET, UNREAD, Fault, answer, bad_gateway, lost_answer
from router.sandbox.fcm.settings import FcmSettings
from router.sandbox.max import MaxSettings
from router.sandbox.mixpanel import MixpanelSettings
from router.sandbox.process import StartFailed
from router.sandbox.record import Received, Record, Refused
from router.sandbox.smtp import SmtpSettings
from router.sandbox.standalone import run_sandbox
from router.sandbox.telegram import TelegramSettings
from router.sandbox.variables import variables_of
from router.sandbox.webapi import Credentials

__all__ = [
    "ANY_TARGET",
    "DEFAULT_PORTS",
    "UNREAD",
    "ApnsSettings",
    "BrokerMissing",
    "CarrotquestSettings",
    "Credentials",
    "CryptographyMissing",
    "EmbeddedBroker",
    "Fault",
    "FcmSettings",
    "MaxSettings",
    "MixpanelSettings",
    "Received",
    "Record",
    "Refused",
    "Sandbox",
    "SandboxSettings",
    "SmtpSettings",
    "StartFailed",
    "TelegramSettings",
    "answer",
    "bad_gateway",
    "embedded_broker",
    "lost_answer",
    "run_sandbox",
    "sandbox",
    "variables_of",
]
