"""`.fire`: a model in few bytes, with its preprocessing and classes."""
