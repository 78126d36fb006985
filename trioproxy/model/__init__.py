"""L0: nouns. Imports attrs and nothing else."""
