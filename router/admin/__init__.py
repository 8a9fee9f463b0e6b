"""The admin server and the probes: health, metrics, reload, and an overview page."""

from router.admin.app import Health, Reload, ReloadReport, admin_app, probe_app
from router.admin.listener import serve
from router.admin.overview import Overview, SinkView
from router.config.addresses import Address, check_admin

__all__ = [
    "Address",
    "Health",
    "Overview",
    "Reload",
    "ReloadReport",
    "SinkView",
    "admin_app",
    "check_admin",
    "probe_app",
    "serve",
]
