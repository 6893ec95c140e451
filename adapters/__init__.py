"""Everything that talks to the outside: settings, Postgres, Redis, parsers, embedders, blobs, servers, people."""
