"""`python -m farthing` is the command."""

from farthing.cli.main import main

if __name__ == "__main__":
    main()
