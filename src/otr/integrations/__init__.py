"""The objectives in training code that is not ours: plain loops and other trainers."""
