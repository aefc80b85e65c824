"""The library's values as text for a terminal."""
