"""What the kind ``sqlite`` is made of: its place on disk, schema, operations, and threads."""
