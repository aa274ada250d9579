"""Writes a flow as one readable Python module that is the same flow again.

It knows graphs and source text, and runs nothing of a flow but the imports of its files. The door is `export`.
"""
