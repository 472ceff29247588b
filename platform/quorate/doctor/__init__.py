"""What `quorate doctor` looks at: this machine, what is installed, and what answers."""
