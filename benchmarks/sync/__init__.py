"""How fast code gets to a machine: runctl beside what else one could use, on loopback and on a slow line.

``python -m benchmarks.sync`` measures every tool that is installed here on every workload and prints one table.
"""
