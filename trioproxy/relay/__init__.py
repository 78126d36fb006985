"""L3: where the two halves of the house meet."""
