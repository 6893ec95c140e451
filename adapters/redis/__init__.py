"""Redis or Valkey: the doorbell. It may be emptied at any moment."""
