"""What Pylightnix imports from Python's library and hands on; `from pylightnix import join`."""

__all__ = [name for name in dir() if not name.startswith("_")]
