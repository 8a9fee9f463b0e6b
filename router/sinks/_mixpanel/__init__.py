"""Mixpanel's records and answers, without any connection."""
