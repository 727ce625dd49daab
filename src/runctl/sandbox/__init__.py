"""An embedded, AWS-compatible cloud on localhost whose instances really run commands."""
