"""What runs on the machine, sent there as source: Python 3.8 and later, standard library only, nothing else of runctl."""
