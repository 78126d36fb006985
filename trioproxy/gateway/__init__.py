"""L4: the composition root."""
