"""Pictures, made in sandboxed child processes."""
