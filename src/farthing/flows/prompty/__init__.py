"""`.prompty`: a prompt with its model in one file."""
