"""L1: machines from bytes to bytes. Standard library and orjson."""
