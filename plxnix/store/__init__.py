"""The native store on disk."""
