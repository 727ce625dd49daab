"""What can be looked at in an AWS account, each as a function that gives a ``Check``. All read only but one, which says so.

``aws.doctor`` puts them together for whoever asks before, ``aws.explain`` for whoever asks why a step failed.
"""
