"""Live progress over WebSocket and server-sent events: one log, one reader a process, many watchers."""
