"""What knows nothing of waves: errors, text, time, files, locks, processes, waiting, the terminal."""
