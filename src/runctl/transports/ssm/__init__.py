"""EC2 instances through AWS Systems Manager: no open port, no key, no AWS program on either side."""
