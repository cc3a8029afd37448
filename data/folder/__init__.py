"""Your own videos or features in a folder, with or without captions."""
