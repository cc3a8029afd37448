"""Anybody's videos or features, with or without captions, in a folder of one's own."""
