package service

import "time"

// QueuedSaves is how many saves wait behind the flush that is under way in a boundary.
func QueuedSaves(s *EventStore, boundary string) int { return s.saves.Queued()[boundary] }

// SetCheckBudget changes how long saves may be checked together. Call it before the first save.
func SetCheckBudget(s *EventStore, budget time.Duration) { s.checkBudget = budget }

// MaxWaitingBuilds is how many changes of a boundary's indexes may wait.
const MaxWaitingBuilds = maxWaitingBuilds

// AheadTail is from how many events on a check without an index is made ahead.
const AheadTail = aheadTail
