"""One file per claim; each runs by one command and prints one JSON object as its last line."""
