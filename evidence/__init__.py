"""The committed study: every objective on the embedded models, and what came of it."""
