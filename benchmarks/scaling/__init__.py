"""The model of memory, time and network that `otr check` and docs/scaling.md rest on, held against
training on this machine."""
