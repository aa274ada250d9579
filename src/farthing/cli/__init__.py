"""The `farthing` command: one file per group of commands, each imported only when called.

Keeps: argument parsing, tables and messages for people, `--json` for programs.
Does not know: how anything is computed.
Door: `cli.main:main`.
"""
