"""Getting Jittor to start on this machine, files that survive a kill, errors people can read, pictures."""
