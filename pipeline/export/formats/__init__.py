"""The formats that an export can have: a file each."""
