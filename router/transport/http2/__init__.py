"""HTTP/2 for providers that want it: one connection carries many requests at once."""
