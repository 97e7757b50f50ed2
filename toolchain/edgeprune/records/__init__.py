"""The records that are written to files and read again: results, summaries, tables."""
