"""What operators see: events become log lines (`logs`) and metrics (`metrics`)."""
