"""What the product means: documents, pages, chunks, jobs, tokens. No I/O happens here."""
