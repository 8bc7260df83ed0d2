"""The two tables of an output: their schema, and how parts are written, committed, merged and recovered."""
