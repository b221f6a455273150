"""Every architecture of transformers against the fused head; see docs/models.md."""
