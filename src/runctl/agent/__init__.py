"""The program on the machine. Standard library only, Python 3.8 and later; shipped as one file."""
