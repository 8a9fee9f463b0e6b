"""FCM's messages and answers, without any connection."""
