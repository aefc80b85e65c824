"""What commands print of values, for a person."""
