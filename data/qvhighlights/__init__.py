"""QVHighlights: 150 seconds of a vlog or of news, and the windows that a query asks for."""
