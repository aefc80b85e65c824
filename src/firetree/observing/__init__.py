"""Watches a training script that firetree has never seen, and writes its trace."""
