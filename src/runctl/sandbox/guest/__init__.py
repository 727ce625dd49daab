"""What runs inside an instance; imports nothing of the sandbox but the websocket and the frames."""
