"""QVHighlights: 150-second clips of vlogs and news, with the windows that queries ask for."""
