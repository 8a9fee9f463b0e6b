"""APNs' credentials, messages and answers, without any connection."""
