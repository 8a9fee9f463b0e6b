"""The Apple Push Notification service in both of its environments."""
