"""The nouns of runctl: values, events, errors and ports. Standard library only, no input or output."""
