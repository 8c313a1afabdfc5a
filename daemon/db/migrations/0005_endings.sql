-- When a daemon ended in good order. Whose row says nothing of it, and who gives no sign of life any more, died.
ALTER TABLE {worker} ADD COLUMN IF NOT EXISTS ended_at timestamptz;
