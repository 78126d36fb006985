"""From TOML to frozen values."""
