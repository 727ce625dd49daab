"""What everything that speaks to AWS shares: the session, one call with its retries, and what its errors mean."""
