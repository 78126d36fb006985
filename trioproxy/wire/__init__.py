"""L2: sockets, TLS, HTTP/1.1. Knows no model and no dialect."""
