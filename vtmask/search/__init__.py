"""An index of one's own videos, and its page: which second shows it?"""
