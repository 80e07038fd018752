"""Message queues: backlog, retries, dead letters, and who is stuck."""
