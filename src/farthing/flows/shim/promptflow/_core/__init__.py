"""`promptflow._core`: private there, and imported all the same by older tools."""
