"""Recognises checkpoints by their headers. Travels with the agent: standard library only, Python 3.8 and later."""
