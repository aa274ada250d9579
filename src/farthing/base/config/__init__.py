"""Settings: `farthing.toml` and the environment become one frozen `Settings`.

Keeps: the schema with its defaults, finding and reading the file, the environment's overlay, every
check that needs nothing but the settings themselves, secrets by reference, reload while running.
Does not know: vendors, prices, the network.
Door: `load` for a program that wants to start, `check` for a person who wants every mistake at once.
"""

from farthing.base.config.loader import Loaded, check, load

__all__ = ["Loaded", "check", "load"]
