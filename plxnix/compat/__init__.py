"""The interfaces of the forerunner, on top of this package."""
