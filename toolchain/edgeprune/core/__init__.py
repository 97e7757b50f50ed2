"""What everything stands on: artifacts, files, documents, errors."""
