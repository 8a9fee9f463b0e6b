"""What the kind ``postgres`` is made of: connections, schema, and the operations in SQL."""
