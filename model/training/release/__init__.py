"""A trained network as a weights file of this service, with its model card."""
