"""The error of every checkpoint that cannot be used."""


class WeightsError(ValueError):
    """A weights file cannot be used; the message names the file, the entry and what was expected."""
