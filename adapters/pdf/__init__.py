"""The parser, in a sandboxed child process."""
