"""Everything that speaks the Kafka protocol: connection, consumer, producer, administration."""

from router.kafka.connection import KafkaConnection, Sasl, Tls

__all__ = ["KafkaConnection", "Sasl", "Tls"]
