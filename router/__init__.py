"""Routes Kafka events to people and analytics by declarative YAML, each message once."""

__version__ = "0.1.0"
