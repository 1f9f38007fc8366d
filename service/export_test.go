package service

// QueuedSaves is how many saves wait behind the flush that is under way in a boundary.
func QueuedSaves(s *EventStore, boundary string) int { return s.saves.Queued()[boundary] }
