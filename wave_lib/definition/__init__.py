"""What was declared: configuration, lane paths, wave files, roles, components, evals, skills."""
