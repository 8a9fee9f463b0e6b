"""What the kind ``redis`` is made of: its connection, and the operations as scripts."""
