"""What a back end of yours may look like."""
