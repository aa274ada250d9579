"""Settings: `farthing.toml` and the environment become one frozen `Settings`."""
