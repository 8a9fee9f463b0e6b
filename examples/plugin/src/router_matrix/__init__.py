"""Matrix for the router: the ``matrix`` sink type and the ``matrix_to`` template filter."""
