package postgres

// deathSignal: the kernel tells PostgreSQL when its parent has died.
const deathSignal = true
