"""L2: what the operator wants, read and checked. Knows no trio and no network.

`load` is not imported here: it brings cattrs and tomllib, which a gateway without a file can do without.
"""
