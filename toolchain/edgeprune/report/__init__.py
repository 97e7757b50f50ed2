"""What a build found, for people: the terminal, one HTML page, and Markdown, all from the same results."""
