"""Side effects: launcher, agent processes, supervisor, executors."""
