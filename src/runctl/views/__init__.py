"""Faces of what happens: terminal, plain lines, JSON lines, logs; all fed by events."""
