"""Processes that read what outsiders sent: forked from a warm server, confined, heard with suspicion."""
