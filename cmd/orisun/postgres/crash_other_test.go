//go:build unix && !linux

package postgres

// deathSignal: PostgreSQL stays after its parent has died, until the next start.
const deathSignal = false
