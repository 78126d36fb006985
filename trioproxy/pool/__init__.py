"""L2: credentials and leases. No trio, no clock."""
