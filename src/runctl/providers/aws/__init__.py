"""EC2: what it sells, what was bought there, and how it ends. ``provider.AwsProvider`` is the socket's plug."""
