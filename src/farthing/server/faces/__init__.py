"""One file per face: the paths, the key header and the error form of one vendor's HTTP API."""
