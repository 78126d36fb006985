"""L2: one folder per API language. A dialect never names another one."""
