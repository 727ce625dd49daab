"""Who may do what in the sandbox: policies read, compared with requests, and refusals worded as AWS words them."""
