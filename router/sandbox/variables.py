"""The environment variables by which the shipped configuration reaches a sandbox."""

from __future__ import annotations

import shlex
from pathlib import Path

from router.sandbox.box import Sandbox


def variables_of(box: Sandbox) -> dict[str, str]:
    """Addresses, keys' files and secrets, by the names that ``config/env/dev.yaml`` reads."""
    host, _, port = box.addresses["smtp"].removeprefix("smtp://").rpartition(":")
    given = box.credentials
    return {
        "SANDBOX_CA_FILE": str(box.ca_file.resolve()),
        "FCM_URL": box.addresses["fcm"],
        "FCM_CREDENTIALS_FILE": str(Path(given["fcm_credentials_file"]).resolve()),
        "APNS_URL": box.addresses["apns"],
        "APNS_SANDBOX_URL": box.addresses["apns-sandbox"],
        "APNS_TOPIC": given["apns_topic"],
        "APNS_KEY_FILE": str(Path(given["apns_key_file"]).resolve()),
        "APNS_KEY_ID": given["apns_key_id"],
        "APNS_TEAM_ID": given["apns_team_id"],
        "SMTP_HOST": host,
        "SMTP_PORT": port,
        "SMTP_PASSWORD": given["smtp_password"],
        "TELEGRAM_URL": box.addresses["telegram"],
        "TELEGRAM_TOKEN": given["telegram_token"],
        "MAX_URL": box.addresses["max"],
        "MAX_TOKEN": given["max_token"],
        "MIXPANEL_URL": box.addresses["mixpanel"],
        "MIXPANEL_TOKEN": given["mixpanel_token"],
        "CARROTQUEST_URL": box.addresses["carrotquest"],
        "CARROTQUEST_TOKEN": given["carrotquest_token"],
        "ACCOUNTING_URL": box.addresses["webhook"] + "/invoices",
        "ACCOUNTING_SECRET": given["webhook_secret"],
        "CRM_URL": box.addresses["http"],
        "CRM_TOKEN": given["http_bearer"],
    }


def write_variables(box: Sandbox, path: Path) -> None:
    """A file that a shell sources."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables_of(box).items()]
    path.write_text("".join(lines), "utf-8")
    path.chmod(0o600)
